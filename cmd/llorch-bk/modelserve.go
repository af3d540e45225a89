package main

import (
	"github.com/llorch/llorch-bk/cmd/internal/app"
	"github.com/llorch/llorch-bk/cmd/internal/settings"
	"github.com/spf13/cobra"
)

func modelServe(a *app.App) *cobra.Command {
	var opt app.ServeModelsOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the store's models to other machines, as the Hugging Face Hub does",
		Long: `Serve offers the store's models in the Hugging Face Hub's API, read-only: llama.cpp
(-hf), another llorch-bk and other clients of the Hub take them with HF_ENDPOINT set
to its address. It offers models that came from the Hub, also those that are pulled
meanwhile. It hashes each file when it is first requested, and withdraws one that does
not match. It asks the Hub nothing: a branch means the commit that the store last saw.

It prints a line for each request, and runs until SIGINT or SIGTERM.`,
		Example: `  llorch-bk model serve
  llorch-bk model serve --listen 0.0.0.0 --token-file mirror.token
  HF_ENDPOINT=http://mirror:8989 llorch-bk up --model hf:org/repo:Q4_K_M
  HF_ENDPOINT=http://mirror:8989 llama-server -hf org/repo:Q4_K_M`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.ServeModels(cmd.Context(), opt) },
	}
	fs := cmd.Flags()
	fs.StringVar(&opt.Listen, "listen", "127.0.0.1", "IP `address` of this machine to serve on; 0.0.0.0 for all")
	fs.IntVar(&opt.Port, "port", app.DefaultMirrorPort, "port to serve on; 0 for a free one")
	fs.StringVar(&opt.TokenFile, "token-file", "", "`file` with the token that clients must send (HF_TOKEN there; for llama.cpp hf_ and at least 34 letters and digits)")
	fs.BoolVar(&opt.JSON, "json", false, "print events as JSON on stdout, one a line")
	// In the environment and in files these are a server's.
	settings.OnlyTyped(cmd, "listen")
	settings.OnlyTyped(cmd, "port")
	return cmd
}
