package manual

import (
	"regexp"
	"strings"
)

// escape makes text literal for roff: a minus is a minus, so that it can be copied, and no line is a request.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}

func bold(text string) string   { return `\fB` + escape(text) + `\fP` }
func italic(text string) string { return `\fI` + escape(text) + `\fP` }

// quoted is an argument of a request.
func quoted(text string) string {
	return `"` + strings.ReplaceAll(strings.TrimPrefix(escape(text), `\&`), `"`, `\(dq`) + `"`
}

// plain is text of a help page: paragraphs, and indented lines that stay as they are.
func (p *page) plain(text string) {
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if strings.HasPrefix(paragraph, "  ") {
			p.indented(paragraph)
			continue
		}
		p.paragraph()
		for line := range strings.Lines(paragraph) {
			p.line(escape(strings.TrimSpace(line)))
		}
	}
}

// literal is text whose lines stay as they are.
func (p *page) literal(text string) {
	p.paragraph()
	p.line(".RS 4", ".EX")
	for line := range strings.Lines(text) {
		p.line(escape(strings.TrimRight(line, "\n")))
	}
	p.line(".EE", ".RE")
}

// indented is literal text that is two blanks to the right.
func (p *page) indented(text string) {
	p.literal(strings.ReplaceAll(strings.TrimPrefix(text, "  "), "\n  ", "\n"))
}

// span is what Markdown has within a line.
var span = regexp.MustCompile("`[^`]+`" + `|\*\*[^*]+\*\*|\*[^*\s][^*]*\*|\[[^\]]+\]\([^)]+\)`)

// inline turns a line of Markdown into one of roff. A link to another page names that page.
func inline(text string) string {
	var out strings.Builder
	for text != "" {
		at := span.FindStringIndex(text)
		if at == nil {
			at = []int{len(text), len(text)}
		}
		out.WriteString(escape(text[:at[0]]))
		found := text[at[0]:at[1]]
		text = text[at[1]:]
		switch {
		case found == "":
		case found[0] == '`':
			out.WriteString(bold(strings.Trim(found, "`")))
		case strings.HasPrefix(found, "**"):
			out.WriteString(bold(strings.Trim(found, "*")))
		case found[0] == '*':
			out.WriteString(italic(strings.Trim(found, "*")))
		default:
			label, target, _ := strings.Cut(strings.Trim(found, "[)"), "](")
			out.WriteString(inline(label))
			if !strings.HasPrefix(target, "#") && target != label {
				out.WriteString(" (" + escape(target) + ")")
			}
		}
	}
	return out.String()
}
