package main

import (
	"cmp"
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"

	"postmend/cmd/postmend/sbom"
)

// version is set by the Makefile at link time.
var version = ""

func (inv *invocation) versionCommand() *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "version [--verbose]",
		Short: "Print the version",
		Long: `Prints the version. --verbose also lists what the program is made of: the version of each
module, and its licence as an SPDX expression (https://spdx.org/licenses).`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			page := pageWriter{w: inv.stdout}
			info, ok := debug.ReadBuildInfo()
			if !ok {
				info = &debug.BuildInfo{}
			}
			page.printf("postmend %s\n", cmp.Or(version, info.Main.Version))
			if verbose {
				for _, c := range sbom.Components(info) {
					page.printf("%s\n", fmt.Sprintf("%-45s %-38s %s", c.Name, c.Version, c.License))
				}
			}
			return page.err
		},
	}
	cmd.Flags().BoolVar(&verbose, "verbose", false, "list the modules in it, with versions and licences")
	return cmd
}
