package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/personal-power-plant/p3/exec/wasm"
)

// release is set at link time: -ldflags "-X main.release=v0.1.0".
var release = "0.1.0-dev"

func version() string { return release }

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version of p3 and of what decides results", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			engine := "wazero"
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, d := range info.Deps {
					if d.Path == "github.com/tetratelabs/wazero" {
						engine += " " + d.Version
					}
				}
			}
			if a.json {
				return a.print(map[string]any{"schema": "p3.version/v1", "version": release, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
					"engine": engine, "cost_table": wasm.CostTable()})
			}
			fmt.Fprintf(a.out, "p3 %s %s/%s %s\nengine %s, cost table %s\n", release, runtime.GOOS, runtime.GOARCH, runtime.Version(), engine, wasm.CostTable().Short())
			return nil
		},
	}
}
