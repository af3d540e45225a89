package settings

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// source is the annotation that says where a flag's value came from, if it was not typed.
const source = "llorch-source"

func cameFrom(f *pflag.Flag, where string) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[source] = []string{where}
}

// Names returns the user's name for a setting, for fault.Name: the variable or the line of
// the file that the value came from, else the flag. With a value, as advice has it, it is
// always the flag. Words that are not a setting of any command have no name.
func Names(cmd *cobra.Command) func(setting, value string) string {
	known := map[string]bool{"help": true}
	everyFlag(cmd.Root(), func(f *pflag.Flag) { known[f.Name] = true })
	return func(setting, value string) string {
		if !known[setting] {
			return ""
		}
		if value != "" {
			return "--" + setting + " " + value
		}
		if f := cmd.Flags().Lookup(setting); f != nil && len(f.Annotations[source]) > 0 {
			return f.Annotations[source][0]
		}
		return "--" + setting
	}
}

// everyFlag calls fn for the flags of a command and of its subcommands.
func everyFlag(cmd *cobra.Command, fn func(*pflag.Flag)) {
	cmd.Flags().VisitAll(fn)
	cmd.PersistentFlags().VisitAll(fn)
	for _, sub := range cmd.Commands() {
		everyFlag(sub, fn)
	}
}
