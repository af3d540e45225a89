package settings

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// source is the annotation of a flag that was not typed: where its value is from.
const source = "llorch-source"

func cameFrom(f *pflag.Flag, where string) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[source] = []string{where}
}

// Names is what a user of cmd calls a setting, for fault.Name: the variable or the
// line of the file that it came from, else its flag. With a value, as an advice has
// it, it is always the flag. Words that are no setting of any command have no name.
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

// everyFlag calls fn for the flags of a command and of all below it.
func everyFlag(cmd *cobra.Command, fn func(*pflag.Flag)) {
	cmd.Flags().VisitAll(fn)
	cmd.PersistentFlags().VisitAll(fn)
	for _, sub := range cmd.Commands() {
		everyFlag(sub, fn)
	}
}
