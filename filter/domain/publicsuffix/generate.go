//go:build ignore

// Writes rules.txt from the list that golang.org/x/net/publicsuffix is tested with, the only form of it
// there that can be read, and testdata/version.
package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"
)

func main() {
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/net").Output()
	if err != nil {
		log.Fatal(err)
	}
	name := filepath.Join(strings.TrimSpace(string(module)), "publicsuffix", "table_test.go")
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
	if err != nil {
		log.Fatal(err)
	}
	var rules []string
	ast.Inspect(file.Scope.Lookup("rules").Decl.(ast.Node), func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok {
			rule, err := strconv.Unquote(literal.Value)
			if err != nil {
				log.Fatal(err)
			}
			rules = append(rules, rule)
		}
		return true
	})
	slices.Sort(rules)
	write("rules.txt", strings.Join(rules, "\n"))
	write("testdata/version", publicsuffix.List.String())
}

func write(name, text string) {
	if err := os.WriteFile(name, []byte(text+"\n"), 0o644); err != nil {
		log.Fatal(err)
	}
}
