package manual

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Program is what stands at the foot of each page. A zero Date is left out.
type Program struct {
	Version string
	Date    time.Time
}

// Page is a man page.
type Page struct {
	File string // "postmend-filter.8"
	Text string
}

// page is one that is being written, line by line.
type page struct{ lines []string }

func (p *page) line(lines ...string) { p.lines = append(p.lines, lines...) }

func (p *page) String() string { return strings.Join(p.lines, "\n") + "\n" }

// paragraph begins one. A heading does so by itself.
func (p *page) paragraph() {
	if last := p.lines[len(p.lines)-1]; !strings.HasPrefix(last, ".S") {
		p.line(".PP")
	}
}

func (a Program) begin(name string, section int, about string) *page {
	date := ""
	if !a.Date.IsZero() {
		date = a.Date.UTC().Format(time.DateOnly)
	}
	p := &page{}
	p.line(fmt.Sprintf(".TH %s %d %q %s", quoted(strings.ToUpper(name)), section, date,
		quoted("postmend "+a.Version)),
		".nh", ".ad l", // hyphens and wide gaps would be in keys and commands, too
		".SH NAME", escape(name)+` \- `+escape(about))
	return p
}

// commands makes a page for the program and one for each of its commands.
func (a Program) commands(root *cobra.Command, more func(command string) string) []Page {
	overview := a.begin(root.Name(), 8, "mend mail that a Postfix server forwards")
	overview.line(".SH SYNOPSIS", bold(root.Name())+" "+italic("command")+" ...")
	overview.line(".SH DESCRIPTION")
	overview.plain(root.Long)
	overview.line(".SH COMMANDS")
	var pages []Page
	for _, cmd := range root.Commands() {
		if !cmd.IsAvailableCommand() {
			continue
		}
		name := root.Name() + "-" + cmd.Name()
		overview.line(".TP", `\fB`+escape(name)+`\fP(8)`, escape(cmd.Short)+".")
		pages = append(pages, Page{name + ".8", a.command(name, cmd, more(cmd.Name()))})
	}
	overview.line(".SH OPTIONS", "Each command takes them:")
	overview.flags(root.PersistentFlags())
	overview.markdown(more(root.Name()))
	return append(pages, Page{root.Name() + ".8", overview.String()})
}

func (a Program) command(name string, cmd *cobra.Command, more string) string {
	p := a.begin(name, 8, lowered(cmd.Short))
	p.line(".SH SYNOPSIS")
	leaves := []*cobra.Command{cmd}
	if cmd.HasAvailableSubCommands() {
		leaves = cmd.Commands()
	}
	for i, leaf := range leaves {
		if i > 0 {
			p.line(".br")
		}
		p.line(bold(leaf.CommandPath()) + escape(strings.TrimPrefix(leaf.UseLine(), leaf.CommandPath())))
	}
	p.line(".SH DESCRIPTION")
	p.described(cmd)
	if leaves[0] != cmd {
		for _, leaf := range leaves {
			p.line(".SS " + quoted(leaf.CommandPath()))
			p.described(leaf)
			p.flags(leaf.NonInheritedFlags())
			p.example(leaf)
		}
	}
	p.line(".SH OPTIONS")
	p.flags(cmd.NonInheritedFlags())
	p.flags(cmd.InheritedFlags())
	if cmd.Example != "" {
		p.line(".SH EXAMPLES")
		p.example(cmd)
	}
	p.markdown(more)
	p.line(".SH SEE ALSO", `\fBpostmend\fP(8), \fBpostmend.toml\fP(5)`)
	return p.String()
}

// described says what a command does.
func (p *page) described(cmd *cobra.Command) {
	if cmd.Long == "" {
		p.plain(cmd.Short + ".")
	} else {
		p.plain(cmd.Long)
	}
}

func (p *page) example(cmd *cobra.Command) {
	if cmd.Example != "" {
		p.indented(cmd.Example)
	}
}

func (p *page) flags(flags *pflag.FlagSet) {
	flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden || flag.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(flag)
		tag := bold("--" + flag.Name)
		if flag.Shorthand != "" {
			tag = bold("-"+flag.Shorthand) + ", " + tag
		}
		if value != "" {
			tag += " " + italic(value)
		}
		switch flag.DefValue {
		case "", "false", "[]":
		default:
			usage += " (default " + flag.DefValue + ")"
		}
		p.line(".TP", tag, escape(usage))
	})
}

func lowered(text string) string { return strings.ToLower(text[:1]) + text[1:] }

// configuration makes postmend.toml(5) of docs/configuration.md.
func (a Program) configuration(markdown string) Page {
	p := a.begin("postmend.toml", 5, "the configuration file of postmend")
	_, text, _ := strings.Cut(markdown, "\n") // the title
	p.line(".SH DESCRIPTION")
	p.markdown(text)
	p.line(".SH SEE ALSO", `\fBpostmend\fP(8), \fBpostmend\-check\fP(8), \fBpostmend\-setup\fP(8)`)
	return Page{"postmend.toml.5", p.String()}
}

// Pages are all pages. Docs is the folder with configuration.md, and, in man, Markdown that follows on the
// page of a command: what its help does not say. A line <!-- FILE: HEADING --> there stands for what FILE in
// docs has below that heading.
func (a Program) Pages(root *cobra.Command, docs fs.FS) ([]Page, error) {
	var failed error
	read := func(file string) string {
		text, err := fs.ReadFile(docs, file)
		failed = errors.Join(failed, err)
		return string(text)
	}
	more := func(command string) string {
		file := path.Join("man", command+".md")
		if _, err := fs.Stat(docs, file); errors.Is(err, fs.ErrNotExist) {
			return ""
		}
		text, reference, found := strings.Cut(read(file), "<!-- ")
		if found {
			reference, after, _ := strings.Cut(reference, " -->")
			source, heading, _ := strings.Cut(reference, ": ")
			_, section, isThere := strings.Cut(read(source), "\n## "+heading+"\n")
			if !isThere {
				failed = errors.Join(failed, fmt.Errorf("%s has no section %q", source, heading))
			}
			section, _, _ = strings.Cut(section, "\n## ")
			text += section + after
		}
		return text
	}
	return append(a.commands(root, more), a.configuration(read("configuration.md"))), failed
}
