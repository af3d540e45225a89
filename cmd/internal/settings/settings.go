// Package settings sets flags that were not typed from the environment and from
// llorch.yaml.
package settings

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/llorch/llorch-bk/images/fault"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// DefaultFile is read if it exists and no other file is named.
const DefaultFile = "llorch.yaml"

// EnvName is the environment variable of a flag: LLORCH_CUDA_ARCH for cuda-arch.
func EnvName(flag string) string {
	return "LLORCH_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// aliases are other tools' variables for a flag. LLORCH_ variables override them.
var aliases = map[string]string{"builder": "BUILDKIT_HOST"}

// synonyms are flags for the same choice. If one was typed, the other's value in the
// environment or the file is ignored.
var synonyms = map[string]string{"cuda": "variant", "variant": "cuda"}

// perCommand are flags that only make sense on the command line. keep has another meaning
// for each command.
var perCommand = []string{"help", "file", "yes", "all", "json", "follow", "format", "schema", "keep"}

// onlyTyped marks a flag of one command that is only read from the command line.
const onlyTyped = "only-typed"

// OnlyTyped keeps the environment and files from setting a command's flag, because another
// command's flag of that name means something else.
func OnlyTyped(cmd *cobra.Command, flag string) {
	if err := cmd.Flags().SetAnnotation(flag, onlyTyped, nil); err != nil {
		panic(err) // The flag does not exist.
	}
}

// Apply sets every flag of cmd that the user did not type: from the environment, else from
// the file. A file may name any flag of any command, so that one file serves all of them,
// but no other name. Bad values and names are a fault.Usage that says where they are.
func Apply(cmd *cobra.Command, getenv func(string) string, file string) error {
	if file == "" {
		file = getenv(EnvName("file"))
	}
	values, from, err := read(file)
	if err != nil {
		return err
	}
	var wrong []error
	known := flagNames(cmd.Root())
	for name := range values {
		if !slices.Contains(known, name) {
			wrong = append(wrong, fmt.Errorf("%s: unknown setting %q", from, name))
		}
	}
	eachUnset(cmd, func(f *pflag.Flag) {
		if v, name := lookup(getenv, f.Name); v != "" {
			if err := set(cmd, f, split(f, v)); err != nil {
				wrong = append(wrong, fmt.Errorf("%s=%s: %w", name, v, err))
			}
			cameFrom(f, name)
		}
	})
	eachUnset(cmd, func(f *pflag.Flag) {
		if v := values[f.Name]; len(v.values) > 0 {
			if err := set(cmd, f, v.values); err != nil {
				wrong = append(wrong, fmt.Errorf("%s: %s: %w", from, f.Name, err))
			}
			cameFrom(f, fmt.Sprintf("%s:%d %s", from, v.line, f.Name))
		}
	})
	if len(wrong) > 0 {
		return fault.New(fault.Usage, "invalid setting", errors.Join(wrong...), "see "+cmd.CommandPath()+" --help")
	}
	return nil
}

// eachUnset calls fn for every flag that may be set and is not set yet, neither itself nor
// its synonym.
func eachUnset(cmd *cobra.Command, fn func(*pflag.Flag)) {
	var unset []*pflag.Flag
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		_, typed := f.Annotations[onlyTyped]
		if !typed && !cmd.Flags().Changed(f.Name) && !cmd.Flags().Changed(synonyms[f.Name]) && !slices.Contains(perCommand, f.Name) {
			unset = append(unset, f)
		}
	})
	for _, f := range unset {
		fn(f)
	}
}

func lookup(getenv func(string) string, flag string) (value, name string) {
	name = EnvName(flag)
	if v := getenv(name); v != "" {
		return v, name
	}
	if alias, ok := aliases[flag]; ok {
		return getenv(alias), alias
	}
	return "", name
}

// split gives a repeatable flag one value for each line; other flags get the whole text.
func split(f *pflag.Flag, v string) []string {
	if _, ok := f.Value.(pflag.SliceValue); ok {
		return strings.Split(strings.TrimSpace(v), "\n")
	}
	return []string{v}
}

func set(cmd *cobra.Command, f *pflag.Flag, values []string) error {
	if _, ok := f.Value.(pflag.SliceValue); !ok && len(values) != 1 {
		return errors.New("takes one value, not a list")
	}
	for _, v := range values {
		if err := cmd.Flags().Set(f.Name, v); err != nil {
			// pflag repeats the flag and the value, which the caller reports already.
			if inner := errors.Unwrap(err); inner != nil {
				return inner
			}
			return err
		}
	}
	return nil
}

// read parses a settings file into lists of strings.
func read(file string) (map[string]setting, string, error) {
	name := file
	if name == "" {
		name = DefaultFile
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) && file == "" {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fault.New(fault.Usage, "cannot read the settings file", err, "name an existing file with --file")
	}
	var raw map[string]setting
	if err := yaml.Unmarshal(data, &raw); err != nil {
		return nil, "", fault.New(fault.Usage, "the settings file "+name+" is not YAML with names and values", err, "write one setting on each line, as in: model: hf:org/repo/file.gguf")
	}
	for k, v := range raw {
		if v.nested {
			return nil, "", fault.New(fault.Usage, fmt.Sprintf("%s: the setting %q must be a value or a list of values, got a map", name, k), nil, "write it as "+k+": VALUE")
		}
	}
	return raw, name, nil
}

// setting is a value or a list of values, as text exactly as written in the file: a commit
// of digits is not a number, and CUDA architecture 12.0 is not 12.
type setting struct {
	values []string
	// nested is true for anything else.
	nested bool
	// line is the line in the file where the value begins.
	line int
}

// UnmarshalYAML reads a node as it is written.
func (s *setting) UnmarshalYAML(node ast.Node) error {
	nodes := []ast.Node{node}
	s.line = node.GetToken().Position.Line
	if list, ok := node.(*ast.SequenceNode); ok {
		nodes = list.Values
	}
	for _, n := range nodes {
		switch n := n.(type) {
		case *ast.NullNode:
		case *ast.LiteralNode:
			s.values = append(s.values, n.Value.Value)
		case ast.ScalarNode:
			s.values = append(s.values, n.GetToken().Value)
		default:
			s.nested = true
		}
	}
	return nil
}

func flagNames(root *cobra.Command) []string {
	var names []string
	everyFlag(root, func(f *pflag.Flag) {
		if !slices.Contains(perCommand, f.Name) {
			names = append(names, f.Name)
		}
	})
	return names
}
