package sbom_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"postmend/cmd/postmend/sbom"
)

// linked are the modules of the program and their folders, as the build list has them.
func linked(t *testing.T) (info *debug.BuildInfo, folders map[string]string) {
	t.Helper()
	const format = `{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}`
	out, err := exec.Command("go", "list", "-deps", "-f", format, "postmend/cmd/postmend").Output()
	if err != nil {
		t.Fatal(err)
	}
	info, folders = &debug.BuildInfo{GoVersion: "go1.2"}, map[string]string{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) < 3 || folders[words[0]] != "" {
			continue
		}
		folders[words[0]] = words[2]
		info.Deps = append(info.Deps, &debug.Module{Path: words[0], Version: words[1], Sum: "h1:"})
	}
	if len(info.Deps) == 0 {
		t.Fatalf("no modules in %q", out)
	}
	return info, folders
}

func TestEachLicenceIsThatOfTheModulesText(t *testing.T) {
	// Words that only one licence has.
	words := map[string]string{
		"MIT":          "Permission is hereby granted, free of charge, to any person obtaining a copy",
		"BSD-3-Clause": "endorse or promote products derived from this software without",
		"Apache-2.0":   "Apache License Version 2.0, January 2004",
	}
	info, folders := linked(t)
	for _, c := range sbom.Components(info) {
		if c.License == "" || c.License == "NOASSERTION" {
			t.Errorf("%s: add its licence to sbom.Components", c.Name)
			continue
		}
		folder := folders[c.Name]
		if folder == "" { // not a module
			continue
		}
		text := ""
		for _, pattern := range []string{"LICENSE*", "COPYING*", "License*"} {
			files, _ := filepath.Glob(filepath.Join(folder, pattern))
			for _, file := range files {
				content, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				text += strings.Join(strings.Fields(string(content)), " ")
			}
		}
		if strings.Contains(text, "SPDX-License-Identifier: "+c.License+" ") {
			continue
		}
		for license, phrase := range words {
			if strings.Contains(strings.ToLower(text), strings.ToLower(phrase)) != (license == c.License) {
				t.Errorf("%s is said to be under %s; its text has or lacks the words of %s", c.Name,
					c.License, license)
			}
		}
	}
}

func TestTheDocumentNamesEachComponentOnce(t *testing.T) {
	info, _ := linked(t)
	text, err := sbom.Document(info, "1.0", "https://example.org/x", time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Packages []struct {
			ID      string `json:"SPDXID"`
			Name    string
			License string `json:"licenseDeclared"`
		}
		Relationships []struct {
			To string `json:"relatedSpdxElement"`
		}
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range document.Packages {
		if seen[p.ID] || strings.ContainsAny(strings.TrimPrefix(p.ID, "SPDXRef-"), "/_ ") {
			t.Errorf("SPDXID %q is not valid, or not unique", p.ID)
		}
		seen[p.ID] = true
	}
	for _, r := range document.Relationships {
		if !seen[r.To] {
			t.Errorf("a relationship with %q, which is not there", r.To)
		}
	}
	if want := 1 + len(sbom.Components(info)); len(document.Packages) != want {
		t.Errorf("%d packages, not %d", len(document.Packages), want)
	}
}
