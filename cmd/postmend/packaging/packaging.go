// Package packaging makes what a package needs beside the program: man pages, the list of what the program
// is made of, and the licences. It is not in the program: see cmd/postmend/packaging.go.
package packaging

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postmend/cmd/postmend/manual"
	"postmend/cmd/postmend/sbom"
)

// Run runs in the top folder: man DIR, sbom PROGRAM, or copyright PROGRAM.
func Run(args []string, commands *cobra.Command, version string) error {
	if len(args) == 2 {
		switch args[0] {
		case "man":
			return writePages(args[1], commands, version)
		case "sbom":
			return printDocument(args[1], version)
		case "copyright":
			return printCopyright(args[1])
		}
	}
	return errors.New("usage: man DIR | sbom PROGRAM | copyright PROGRAM")
}

func writePages(dir string, commands *cobra.Command, version string) error {
	date := time.Time{}
	if os.Getenv("SOURCE_DATE_EPOCH") != "" {
		date = sourceDate()
	}
	pages, err := manual.Program{Version: version, Date: date}.Pages(commands, os.DirFS("docs"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, page := range pages {
		if err := os.WriteFile(filepath.Join(dir, page.File), []byte(page.Text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// sourceDate is SOURCE_DATE_EPOCH, which makes builds reproducible, else now.
func sourceDate() time.Time {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return time.Now()
	}
	return time.Unix(seconds, 0)
}

func printDocument(program, version string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	namespace := fmt.Sprintf("https://spdx.org/spdxdocs/postmend-%x", sha256.Sum256(content))
	document, err := sbom.Document(info, version, namespace, sourceDate())
	if err == nil {
		fmt.Printf("%s\n", document)
	}
	return err
}

// printCopyright prints our licence and those of what is in the program, for a package. Debian has the long
// ones already.
func printCopyright(program string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	ours, err := os.ReadFile("LICENSE")
	if err != nil {
		return err
	}
	fmt.Printf("%s\nThe program also contains:\n", ours)
	for _, c := range sbom.Components(info) {
		fmt.Printf("\n%s %s, %s\n\n", c.Name, c.Version, c.License)
		text, err := licenseText(c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		for line := range strings.Lines(text) {
			fmt.Print(strings.TrimRight("  "+line, " \n"), "\n")
		}
	}
	return nil
}

func licenseText(c sbom.Component) (string, error) {
	switch c.License {
	case "Apache-2.0", "MPL-2.0":
		return "On Debian systems, the licence is in /usr/share/common-licenses/" + c.License + ".\n", nil
	}
	where := []string{"env", "GOROOT"}
	if c.Sum != "" {
		where = []string{"list", "-m", "-f", "{{.Dir}}", c.Name}
	}
	folder, err := exec.Command(goCommand(), where...).Output()
	if err != nil {
		return "", err
	}
	for _, name := range []string{"LICENSE", "COPYING", "License"} {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(folder)), name))
		if err == nil {
			text, _, _ = bytes.Cut(text, []byte("\nGPL v2.0:")) // one of two to choose from
			return string(bytes.TrimSpace(text)) + "\n", nil
		}
	}
	return "", errors.New("no licence text")
}

func goCommand() string { return cmp.Or(os.Getenv("GO"), "go") }
