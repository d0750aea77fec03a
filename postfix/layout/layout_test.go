package layout

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What an operator copies from docs/postfix.md is what setup writes.
func TestTheDocumentationShowsTheLayout(t *testing.T) {
	page, err := os.ReadFile("../../docs/postfix.md")
	if err != nil {
		t.Fatal(err)
	}
	p := Program{Path: "/usr/local/bin/postmend", User: User}
	before39 := func(major, minor int) bool { return major < 3 || major == 3 && minor < 9 }
	want := []string{
		p.FilterLine(StatusFilter(), before39),
		ListenerLine("127.0.0.1:"+ListenerPort(), ""),
		CleanupLine,
		p.ReverseLine(),
	}
	if got := entries(block(t, string(page), "master.cf")); !slices.Equal(got, words(want)) {
		t.Errorf("docs/postfix.md has\n%s\nwant\n%s", strings.Join(got, "\n"),
			strings.Join(words(want), "\n"))
	}
	main := "\n" + block(t, string(page), "main.cf")
	for _, parameter := range []Parameter{Recipients(false), TimeLimit, {"content_filter", ContentFilter},
		{"recipient_canonical_maps", ReverseMap}} {
		if !strings.Contains(main, "\n"+parameter.Name+" = "+parameter.Value+"\n") {
			t.Errorf("docs/postfix.md lacks %s = %s", parameter.Name, parameter.Value)
		}
	}
}

func TestTheDocumentationShowsTheLayoutForLMTP(t *testing.T) {
	page, err := os.ReadFile("../../docs/postfix.md")
	if err != nil {
		t.Fatal(err)
	}
	got, want := entries(block(t, string(page), "master.cf lmtp")),
		words([]string{LMTPLine(LMTPStatusFilter())})
	spawn := words([]string{Program{Path: "/usr/local/bin/postmend", User: User}.SpawnedLMTPLine()})
	if got := entries(block(t, string(page), "master.cf lmtp spawn")); !slices.Equal(got, spawn) {
		t.Errorf("docs/postfix.md has\n%s\nwant\n%s", got, spawn)
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/postfix.md has\n%s\nwant\n%s", got, want)
	}
	main := "\n" + block(t, string(page), "main.cf lmtp")
	main += block(t, string(page), "main.cf lmtp spawn")
	for _, parameter := range []Parameter{LMTPRecipients,
		{"content_filter", LMTPNextHop("inet:127.0.0.1:10025")}, SpawnedTimeLimit,
		{"content_filter", LMTPNextHop(SpawnedLMTP)}} {
		if !strings.Contains(main, "\n"+parameter.Name+" = "+parameter.Value+"\n") {
			t.Errorf("docs/postfix.md lacks %s = %s", parameter.Name, parameter.Value)
		}
	}
}

func block(t *testing.T, page, kind string) string {
	t.Helper()
	found := regexp.MustCompile("(?s)```" + regexp.QuoteMeta(kind) + "\n(.*?)```").FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("no block %s", kind)
	}
	return found[1]
}

// entries are the entries of a master.cf, their words separated by one blank.
func entries(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if line[0] != ' ' && line[0] != '\t' {
			all = append(all, "")
		}
		all[len(all)-1] += " " + line
	}
	return words(all)
}

// words takes away how an entry is set: blanks, and those within braces.
func words(entries []string) []string {
	var all []string
	for _, entry := range entries {
		entry = strings.NewReplacer("{", " { ", "}", " } ", "=", " = ").Replace(entry)
		all = append(all, strings.Join(strings.Fields(entry), " "))
	}
	return all
}
