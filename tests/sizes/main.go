// Command sizes names what is too large to be read at one sitting: lines, functions and files of Go code. It
// runs in the top folder, by make check.
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

const (
	maxColumns  = 110
	tab         = 4
	maxFunction = 70  // lines, from func to the closing brace; tests are exempt
	maxFile     = 450 // lines
)

func main() {
	var faults []string
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		found, err := judge(path)
		faults = append(faults, found...)
		return err
	})
	if err != nil {
		faults = append(faults, err.Error())
	}
	for _, fault := range faults {
		fmt.Fprintln(os.Stderr, fault)
	}
	if faults != nil {
		os.Exit(1)
	}
}

func judge(path string) (faults []string, err error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(source, []byte("\n")); n > maxFile {
		faults = append(faults, fmt.Sprintf("%s: %d lines, more than %d", path, n, maxFile))
	}
	number := 0
	for line := range strings.Lines(string(source)) {
		number++
		line = strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "\t", strings.Repeat(" ", tab))
		if n := utf8.RuneCountInString(line); n > maxColumns {
			faults = append(faults, fmt.Sprintf("%s:%d: %d columns, more than %d", path, number, n,
				maxColumns))
		}
	}
	if strings.HasSuffix(path, "_test.go") {
		return faults, nil
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, source, 0)
	if err != nil {
		return nil, err
	}
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; n > maxFunction {
			faults = append(faults, fmt.Sprintf("%s: %s has %d lines, more than %d", set.Position(f.Pos()),
				f.Name.Name, n, maxFunction))
		}
	}
	return faults, nil
}
