package fromreaders

import (
	"math/rand/v2"
	"slices"
	"strings"
)

// Generator makes messages whose author readers could see differently: address lists by RFC 5322's grammar,
// obsolete forms included, then changed at random, in fields and headers that are themselves odd now and
// then.
type Generator struct{ *rand.Rand }

// New makes the same messages for the same seed.
func New(seed uint64) Generator { return Generator{rand.New(rand.NewPCG(seed, 5322))} }

var (
	domains = []string{"fwd.test", "evil.example", "other.example", "mail.fwd.test"}
	locals  = []string{"ceo", "a", "first.last", "x+y"}
	words   = []string{"Boss", "Mallory", "Dr.", "O'Brien", "via", "Inc.", "=?utf-8?q?M=C3=BCller?=",
		"=?utf-8?b?Y2VvQGZ3ZC50ZXN0?=", "=?utf-8?q?ceo=40fwd.test?=", "M\u00fcller", "M\xfcller", "-", "1.0"}
	blanks = []string{" ", "  ", "\t", "\n ", "\n\t", " \n "}
	// junk is what a change puts somewhere.
	junk = []string{`"`, `"`, `\`, "(", ")", "<", ">", ",", ";", ":", "@", ".", "[", "]", " ", "\n ", "\r",
		"\r\r", "\x00", "\x0b", "\x0c", "\x1b", "\x7f",
		"\xe9", "\xc2", "\u2026", "\u3000", "\u2003", "\u200b", "\u00ad", "\u00a0", "\u2028", "\u0085",
		"\ufeff", "\uff20", "\u3002", "\uff0e", "\u00e9", "=?utf-8?q?", "?=",
		"%", "!", "=", "'", "`", "&", "|", "ceo@fwd.test", "<ceo@fwd.test>", "(ceo@fwd.test)",
		`"ceo@fwd.test"`, "x:", "@fwd.test", "fwd.test"}
)

func pick(g Generator, list []string) string { return list[g.IntN(len(list))] }

func (g Generator) maybe(n int, s func() string) string {
	if g.IntN(n) == 0 {
		return s()
	}
	return ""
}

func (g Generator) blank() string { return pick(g, blanks) }

// cfws is comments and folding white space (RFC 5322 section 3.2.2), or nothing.
func (g Generator) cfws() string {
	switch g.IntN(8) {
	case 0:
		return g.comment(0)
	case 1:
		return g.blank() + g.comment(0) + g.blank()
	case 2:
		return g.blank()
	}
	return ""
}

func (g Generator) comment(depth int) string {
	var b strings.Builder
	for range g.IntN(3) + 1 {
		switch n := g.IntN(10); {
		case n < 4:
			b.WriteString(pick(g, words))
		case n < 5:
			b.WriteString(g.spec())
		case n < 6:
			b.WriteString("<" + g.spec() + ">")
		case n < 8 && depth < 3:
			b.WriteString(g.comment(depth + 1))
		case n < 9:
			b.WriteString(`\` + pick(g, []string{"(", ")", `"`, `\`, "x"}))
		default:
			b.WriteString(g.blank())
		}
		b.WriteString(g.maybe(2, g.blank))
	}
	return "(" + b.String() + ")"
}

func (g Generator) quoted() string {
	var b strings.Builder
	for range g.IntN(3) + 1 {
		switch g.IntN(8) {
		case 0:
			b.WriteString(pick(g, locals) + "@" + pick(g, domains))
		case 1:
			b.WriteString("<" + pick(g, locals) + "@" + pick(g, domains) + ">")
		case 2:
			b.WriteString(pick(g, []string{",", ";", ":", "(", ")", "<", ">", "@", "."}))
		case 3:
			b.WriteString(`\` + pick(g, []string{`"`, `\`, "x", "@"}))
		case 4:
			b.WriteString(g.blank())
		default:
			b.WriteString(pick(g, words))
		}
	}
	return `"` + b.String() + `"`
}

func (g Generator) local() string {
	switch g.IntN(12) {
	case 0, 1:
		return g.quoted()
	case 2:
		return pick(g, locals) + g.cfws() + "." + g.cfws() + pick(g, locals)
	}
	return pick(g, locals)
}

func (g Generator) domain() string {
	d := pick(g, domains)
	switch g.IntN(20) {
	case 0:
		return strings.ReplaceAll(d, ".", g.cfws()+"."+g.cfws())
	case 1:
		return "[" + d + "]"
	case 2:
		return strings.ToUpper(d)
	case 3:
		return d + "."
	case 4:
		return `"` + d + `"`
	case 5:
		return "[192.0.2.1]"
	}
	return d
}

func (g Generator) spec() string {
	if g.IntN(3) > 0 {
		return pick(g, locals) + "@" + pick(g, domains)
	}
	return g.cfws() + g.local() + g.cfws() + "@" + g.cfws() + g.domain() + g.cfws()
}

func (g Generator) phrase() string {
	var b strings.Builder
	for range g.IntN(3) + 1 {
		switch g.IntN(6) {
		case 0, 1:
			b.WriteString(g.quoted())
		case 2:
			b.WriteString(g.comment(0))
		default:
			b.WriteString(pick(g, words))
		}
		b.WriteString(g.maybe(4, g.blank))
		b.WriteString(" ")
	}
	return b.String()
}

func (g Generator) mailbox() string {
	route := func() string {
		return "@" + pick(g, domains) + g.maybe(3, func() string { return ",@" + pick(g, domains) }) + ":"
	}
	switch g.IntN(8) {
	case 0, 1:
		return g.spec()
	case 2:
		return g.spec() + " " + g.comment(0)
	}
	return g.phrase() + g.cfws() + "<" + g.maybe(12, route) + g.spec() + ">" + g.cfws()
}

func (g Generator) list() string {
	var list []string
	for range 1 + g.IntN(8)/6 + g.IntN(8)/7 {
		list = append(list, g.mailbox())
	}
	value := strings.Join(list, ","+g.cfws())
	switch g.IntN(10) {
	case 0:
		return g.phrase() + ":" + value + ";" + g.cfws()
	case 1:
		return g.phrase() + ":" + g.cfws() + ";" + g.maybe(2, func() string { return "," + value })
	}
	return value
}

// change makes some changes that no grammar allows.
func (g Generator) change(s string) string {
	for range max(0, g.IntN(6)-2) {
		at := g.IntN(len(s) + 1)
		end := min(len(s), at+1+g.IntN(4))
		switch g.IntN(8) {
		case 0:
			s = s[:at] + s[end:]
		case 1:
			s = s[:at] + s[at:end] + s[at:]
		case 2:
			s = s[:at] + pick(g, junk) + s[end:]
		case 3:
			s += pick(g, junk)
		default:
			s = s[:at] + pick(g, junk) + s[at:]
		}
	}
	return s
}

// Value is the value of a From: field, with LF and blank where it is folded.
func (g Generator) Value() string { return g.change(g.list()) }

// field is a whole field that is, or looks like, a From:.
func (g Generator) field() string {
	name := "From:"
	if g.IntN(8) == 0 {
		name = pick(g, []string{"from:", "FROM:", "From :", "From\t:", "From \t :", "From:\n", "Resent-From:",
			"Sender:", "X-From:", "From\u00a0:",
			"From\x0b:", "From\x00:", "From\r:", "\u00a0From:", " From:", "Fro\nm:", "From", "\uff26rom:",
			"\rFrom:", "\r From:"})
	}
	return name + pick(g, []string{" ", " ", " ", "", "\n ", "\t"}) + g.Value() + "\n"
}

// Message is a message with From: fields, most often one.
func (g Generator) Message() []byte {
	var header []string
	if g.IntN(8) > 0 {
		header = append(header, "Received: from a by b; Mon, 2 Nov 2026 10:00:00 +0000\n")
	}
	for range 1 + g.IntN(10)/9 {
		header = append(header, g.field())
	}
	for range g.IntN(8) / 6 {
		odd := pick(g, []string{"X-A: b\r", "X-A: b\r\r", "X-A: b\n\r", "X-A: b\r\n", "no colon\n", " \n",
			"\r\n", "\t\n", ":\n", "X-A: b\x0b", "X-A: b\x0c", "X-A: b\u0085", "X-A: b\u2028",
			"X-A: b\x00", "X-A: b\x00\n", "X\x00Y: b\n", "X Y: b\n", ">From a\n",
			"From a@evil.example Mon Nov  2 10:00:00 2026\n", "\n"})
		at := g.IntN(len(header) + 1)
		if at == 0 && strings.TrimSpace(odd) == "" {
			at = len(header) // each hop puts a field on top: no header starts with an empty line
		}
		header = slices.Insert(header, at, odd+g.field())
	}
	return []byte(strings.Join(header, "") + "Subject: x\n\nbody\n")
}
