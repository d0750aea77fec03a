package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postmend/cmd/postmend/manual"
)

func TestTheManPagesNameEveryCommandAndFlag(t *testing.T) {
	root := (&invocation{}).commands()
	pages, err := manual.Program{Version: "1"}.Pages(root, os.DirFS("../../docs"))
	if err != nil {
		t.Fatal(err)
	}
	text := map[string]string{}
	for _, page := range pages {
		text[page.File] = strings.ReplaceAll(page.Text, `\-`, "-")
	}
	var visit func(*cobra.Command, string)
	visit = func(cmd *cobra.Command, page string) {
		if !strings.Contains(text[page], cmd.CommandPath()) {
			t.Errorf("%s lacks the command %s", page, cmd.CommandPath())
		}
		cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			if !strings.Contains(text[page], `\fB--`+flag.Name+`\fP`) {
				t.Errorf("%s lacks --%s of %s", page, flag.Name, cmd.CommandPath())
			}
		})
		for _, sub := range cmd.Commands() {
			visit(sub, page)
		}
	}
	for _, cmd := range root.Commands() {
		visit(cmd, "postmend-"+cmd.Name()+".8")
		if !strings.Contains(text["postmend.8"], "postmend-"+cmd.Name()+`\fP(8)`) {
			t.Errorf("postmend.8 lacks %s", cmd.Name())
		}
	}
	fragments, err := filepath.Glob("../../docs/man/*.md")
	if err != nil || len(fragments) == 0 {
		t.Fatal("docs/man is empty", err)
	}
	for _, file := range fragments {
		name := strings.TrimSuffix(filepath.Base(file), ".md")
		if found, _, err := root.Find([]string{name}); name != root.Name() && (err != nil || found == root) {
			t.Errorf("docs/man/%s.md belongs to no command", name)
		}
	}
}

func TestVersionVerboseListsWhatTheProgramIsMadeOf(t *testing.T) {
	var out, errs bytes.Buffer
	if exit := run([]string{"version", "--verbose"}, strings.NewReader(""), &out, &errs); exit != 0 {
		t.Fatalf("exit %d, %s", exit, errs.String())
	}
	for _, want := range []string{`(?m)^postmend `, `(?m)^std +\S+ +BSD-3-Clause$`,
		`(?m)^publicsuffix.org/list .* MPL-2.0$`} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no line %s in\n%s", want, out.String())
		}
	}
}
