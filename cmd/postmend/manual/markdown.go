package manual

import (
	"cmp"
	"regexp"
	"strings"
)

var listItem = regexp.MustCompile(`^(-|\d+\.) +`)

// markdown writes what our own pages use: headings, paragraphs, lists of one level, tables, code.
func (p *page) markdown(text string) {
	lines := strings.Split(text, "\n")
	for len(lines) > 0 {
		line := lines[0]
		item := listItem.FindString(line)
		switch {
		case strings.TrimSpace(line) == "":
			lines = lines[1:]
		case strings.HasPrefix(line, "```"):
			lines = p.fenced(lines[1:])
		case strings.HasPrefix(line, "### "):
			p.line(".SS " + quoted(strings.ReplaceAll(line[4:], "`", "")))
			lines = lines[1:]
		case strings.HasPrefix(line, "#"):
			p.line(".SH " + quoted(
				strings.ToUpper(strings.ReplaceAll(strings.TrimLeft(line, "# "), "`", ""))))
			lines = lines[1:]
		case strings.HasPrefix(line, "|"):
			lines = p.table(lines)
		case strings.HasPrefix(line, "    "):
			p.literal(line[4:])
			lines = lines[1:]
		case item != "":
			p.line(`.IP ` + strings.Replace(strings.TrimSpace(item), "-", `\(bu`, 1) + ` 4`)
			lines[0] = line[len(item):]
			lines = p.text(lines)
		default:
			p.paragraph()
			lines = p.text(lines)
		}
	}
}

// text joins the lines of a paragraph, because a span may go over their ends.
func (p *page) text(lines []string) (rest []string) {
	n := 1
	for n < len(lines) && strings.TrimSpace(lines[n]) != "" && !strings.HasPrefix(lines[n], "|") &&
		!strings.HasPrefix(lines[n], "```") && !listItem.MatchString(lines[n]) {
		n++
	}
	var words []string
	for _, line := range lines[:n] {
		words = append(words, strings.TrimSpace(line))
	}
	p.line(inline(strings.Join(words, " ")))
	return lines[n:]
}

func (p *page) fenced(lines []string) (rest []string) {
	n := 0
	for n < len(lines) && !strings.HasPrefix(lines[n], "```") {
		n++
	}
	p.literal(strings.Join(lines[:n], "\n"))
	return lines[min(n+1, len(lines)):]
}

// table makes a list of the rows: the first cell, and below it the others, each with the name of its column
// if there are several. The names are left out where the reader knows them.
func (p *page) table(lines []string) (rest []string) {
	head := tableCells(strings.TrimSpace(lines[0]))
	n := 1
	for ; n < len(lines) && strings.HasPrefix(lines[n], "|"); n++ {
		cells := tableCells(strings.TrimSpace(lines[n]))
		if strings.HasPrefix(cells[0], "---") {
			continue
		}
		p.line(".TP", cmp.Or(inline(cells[0]), `\&`))
		after := ""
		for i, cell := range cells[1:] {
			name := head[min(i+1, len(head)-1)]
			if cell == "" || cell == "–" {
				continue
			}
			if len(head) > 2 && name != "meaning" && name != "" {
				cell = strings.ToUpper(name[:1]) + name[1:] + ": " + cell
			}
			p.line(after + inline(cell))
			after = ".br\n"
		}
	}
	return lines[n:]
}
