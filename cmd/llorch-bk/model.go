package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/runtime/model/store"
	"github.com/spf13/cobra"
)

func modelCommand(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "model",
		Short: "Manage the models on this machine",
		Long: `Model manages the model store, a folder in Hugging Face cache layout
(LLORCH_MODEL_DIR). Run and up use it. Your own files are used in place and never
changed.`,
		Example: `  llorch-bk model pull hf:org/repo:Q4_K_M
  llorch-bk model ls
  llorch-bk model gc --keep 50GB`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(modelPull(a), modelList(a), modelVerify(a), modelRemove(a), modelCollect(a), modelServe(a))
	return cmd
}

func modelPull(a *app.App) *cobra.Command {
	var asJSON, alone bool
	cmd := &cobra.Command{
		Use:   "pull REF",
		Short: "Download a model and verify it",
		Long: `Pull downloads a model into the store, verifies it against the hash that its source
publishes, and prints its path. Files that are already in the store are not downloaded
again, and an interrupted download resumes. For a repository without a quantisation,
pull chooses like llama.cpp's own -hf and prints the choice. A model in several files
counts as one. The projector (mmproj) in the model's repository is downloaded with it.`,
		Example: `  llorch-bk model pull hf:org/repo:Q4_K_M
  llorch-bk model pull hf:org/repo@v1.0/file.gguf
  llorch-bk model pull oci://ai/smollm2:360M-Q4_K_M
  llorch-bk model pull ollama://llama3.2:3b
  llorch-bk model pull https://example.com/file.gguf#sha256=0123...`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON && !cmd.Flags().Changed("progress") {
				a.Progress = "json"
			}
			got, err := a.PullModel(cmd.Context(), args[0], alone)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.Out, got)
			}
			fmt.Fprintln(a.Out, got.Path)
			return nil
		},
	}
	addModelUpdate(cmd, a)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON, and progress on stderr as JSON events")
	addNoMMProj(cmd, &alone)
	return cmd
}

func modelList(a *app.App) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "List the models in the store, most recently used first",
		Example: "  llorch-bk model ls\n  llorch-bk model ls --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			all, err := a.Models()
			if err != nil {
				return err
			}
			if asJSON {
				if all == nil {
					all = []store.Stored{}
				}
				return printJSON(a.Out, all)
			}
			if len(all) == 0 {
				fmt.Fprintln(a.Out, "the store has no models")
				return nil
			}
			tw := tabwriter.NewWriter(a.Out, 0, 4, 2, ' ', 0)
			fmt.Fprintln(tw, "SIZE\tQUANT\tARCHITECTURE\tCONTEXT\tUSED\tMODEL")
			for _, m := range all {
				note := beside(m)
				if len(m.Damage) > 0 {
					note += " (damaged: " + strings.Join(m.Damage, "; ") + ")"
				}
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s%s\n", units.HumanSize(float64(m.Size)), dash(m.Info.Quant), dash(m.Info.Architecture), tokens(m.Info.ContextLength), used(m), m.Ref, note)
			}
			return tw.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the models as JSON")
	return cmd
}

// beside names the companions of a model by their kind.
func beside(m store.Stored) string {
	var out strings.Builder
	for _, c := range m.Companions {
		out.WriteString(" + " + c.Kind)
	}
	return out.String()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func tokens(n uint64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// used is when a model was last used, and by which projects.
func used(m store.Stored) string {
	if m.Used.IsZero() {
		if m.Foreign {
			return "by another tool"
		}
		return "-"
	}
	s := units.HumanDuration(time.Since(m.Used)) + " ago"
	if len(m.By) > 0 {
		s += " by " + strings.Join(m.By, ", ")
	}
	return s
}

func modelVerify(a *app.App) *cobra.Command {
	var asJSON, repair bool
	cmd := &cobra.Command{
		Use:   "verify [MODEL ...]",
		Short: "Read models again and compare them with their hashes",
		Long: `Verify reads every byte of the named models (default: all) and compares it with the
hash that the model was downloaded with. It exits with 5 if a model has changed.
--repair downloads a changed model again.`,
		Example: `  llorch-bk model verify
  llorch-bk model verify hf:org/repo:Q4_K_M --repair`,
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := a.VerifyModels(cmd.Context(), args, repair)
			if asJSON {
				if all == nil {
					all = []app.Verified{}
				}
				if perr := printJSON(a.Out, all); err == nil {
					err = perr
				}
				return err
			}
			for _, v := range all {
				switch {
				case v.Repaired:
					fmt.Fprintf(a.Out, "repaired  %s\n", v.Ref)
				case len(v.Wrong) > 0:
					fmt.Fprintf(a.Out, "wrong     %s\n", v.Ref)
				default:
					fmt.Fprintf(a.Out, "good      %s\n", v.Ref)
				}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "download changed models again")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func modelRemove(a *app.App) *cobra.Command {
	var opt app.RemoveOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rm MODEL ...",
		Short: "Remove models from the store",
		Long: `Rm removes one model for each argument. It keeps files that other models share. A ref
means the model that it downloaded. If an argument matches several models, rm lists
them, and on a terminal asks which one to remove. It refuses a model that a pool
serves or another process uses.`,
		Example: "  llorch-bk model rm hf:org/repo:Q4_K_M",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			gone, err := a.RemoveModels(cmd.Context(), args, opt)
			return printRemoved(a, gone, asJSON, false, err)
		},
	}
	cmd.Flags().BoolVar(&opt.Yes, "yes", false, "remove files of other tools without asking")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func modelCollect(a *app.App) *cobra.Command {
	var opt app.GCOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "gc --keep SIZE",
		Short: "Remove the least recently used models",
		Long: `Gc removes the least recently used models until the store takes at most --keep, and
downloads that made no progress for a week. It lists them and asks first. A file that
several models share counts once. Gc keeps models that a pool serves or another
process uses, and files of other tools in the same folder.`,
		Example: `  llorch-bk model gc --keep 50GB
  llorch-bk model gc --keep 0 --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			gone, err := a.CollectModels(cmd.Context(), opt)
			return printRemoved(a, gone, asJSON, opt.DryRun, err)
		},
	}
	cmd.Flags().StringVar(&opt.Keep, "keep", "", "let the store take at most this `size`, as 50GB")
	cmd.Flags().BoolVar(&opt.Yes, "yes", false, "remove without asking")
	cmd.Flags().BoolVar(&opt.DryRun, "dry-run", false, "print what would be removed; remove nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func printRemoved(a *app.App, gone []app.RemovedModel, asJSON, dry bool, err error) error {
	if asJSON {
		if gone == nil {
			gone = []app.RemovedModel{}
		}
		if perr := printJSON(a.Out, gone); err == nil {
			err = perr
		}
		return err
	}
	if err == nil && len(gone) == 0 {
		fmt.Fprintln(a.Out, "nothing to remove")
	}
	for _, r := range gone {
		switch {
		case r.Removed:
			fmt.Fprintf(a.Out, "removed %s (%s)\n", r.Ref, units.HumanSize(float64(r.Bytes)))
			if len(r.Shared) > 0 {
				fmt.Fprintf(a.Out, "        files of it stay, which these have too: %s\n", strings.Join(r.Shared, ", "))
			}
		case dry:
			fmt.Fprintf(a.Out, "would remove %s (%s)\n", r.Ref, units.HumanSize(float64(r.Bytes)))
		}
	}
	return err
}
