package author

import (
	"fmt"
	"html"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"postmend/filter/domain"
)

const (
	maxNameRunes = 64  // of the old display name
	maxTemplate  = 200 // runes of a Name as it is written
	maxPhrase    = 800 // runes of a name put together; below a line of 998 octets (RFC 5322 section 2.1.1)
)

// DefaultName is the form of a name if no other is configured.
const DefaultName = "{name} via {domain}"

// Name is the form of the name in a rewritten From:, see ParseName. The zero value is DefaultName.
type Name []namePart

// namePart is text, or a placeholder.
type namePart struct{ text, placeholder string }

var placeholders = [...]string{"name", "address", "local", "domain", "alias"}

// ParseName reads the form of a name: text with
//
//	{name}     who wrote: the old name, or the address if the name cannot be read or believed
//	{address}  the old author's address, with " at " for the @
//	{local}    what stands before its @
//	{domain}   the domain of the new address
//	{alias}    the new address, with " at " for the @
//
// each at most once. The error says what is wrong with it: another placeholder, a character that has a
// meaning in a header or is not visible, or a form that would show an address that nobody has.
func ParseName(text string) (Name, error) {
	if n := len([]rune(text)); n > maxTemplate {
		return nil, fmt.Errorf("it has %d characters, %d are allowed", n, maxTemplate)
	}
	var name Name
	for rest := text; rest != ""; {
		before, behind, opens := strings.Cut(rest, "{")
		isClean := clean(before, maxTemplate) == strings.Join(strings.Fields(before), " ")
		if !isClean || strings.ContainsAny(before, "}\r\n\t") {
			return nil, fmt.Errorf("%q: a name cannot have @ < > \" \\ } =? or invisible characters", before)
		}
		if before != "" {
			name = append(name, namePart{text: before})
		}
		if !opens {
			break
		}
		word, after, closes := strings.Cut(behind, "}")
		if !closes || !slices.Contains(placeholders[:], word) {
			known := strings.Join(placeholders[:], "}, {")
			return nil, fmt.Errorf("{%s is not one of {%s}", behind[:min(len(behind), 20)], known)
		}
		if slices.Contains(name, namePart{placeholder: word}) {
			return nil, fmt.Errorf("{%s} occurs twice", word)
		}
		name = append(name, namePart{placeholder: word})
		rest = after
	}
	sample := &authors{list: []oldAuthor{{name: "Alice", local: "alice", domain: "bank.example"}}}
	switch shown := name.fill(sample, "info@forwarder.example", "forwarder.example"); {
	case !isReadable(shown):
		return nil, fmt.Errorf("%q has no letter or digit", text)
	case claimsAnother(withoutAlias(shown, "info@forwarder.example"), sample.list[0].domain):
		return nil, fmt.Errorf("%q would show an address that is not the author's: %q", text, shown)
	}
	return name, nil
}

// of puts the name together for new author with the address spec in a domain. Where the parts together would
// read as an address that is neither the old author's nor the new one, the name is in the default form.
func (n Name) of(old *authors, spec, newDomain string) string {
	if len(n) > 0 {
		own := ""
		if len(old.list) > 0 {
			own = old.list[0].domain
		}
		shown := n.fill(old, spec, newDomain)
		if isReadable(shown) && !claimsAnother(withoutAlias(shown, spec), own) {
			return shown
		}
	}
	return old.displayName() + " via " + newDomain
}

func (n Name) fill(old *authors, spec, newDomain string) string {
	var b strings.Builder
	for _, part := range n {
		switch part.placeholder {
		case "name":
			b.WriteString(old.displayName())
		case "address":
			b.WriteString(old.address())
		case "local":
			b.WriteString(old.local())
		case "domain":
			b.WriteString(newDomain)
		case "alias":
			b.WriteString(aliasInWords(spec))
		default:
			b.WriteString(part.text)
		}
	}
	return clean(b.String(), maxPhrase)
}

func aliasInWords(spec string) string {
	at := strings.LastIndexByte(spec, '@')
	return addressInWords(spec[:at], spec[at+1:])
}

// withoutAlias is a name without the new address, as far as that stands alone: not as in "ceo.info at
// example.org".
func withoutAlias(name, spec string) string {
	before, behind, found := strings.Cut(name, aliasInWords(spec))
	const opening, closing = " ([", " )],;:"
	if !found || before != "" && !strings.ContainsAny(before[len(before)-1:], opening) ||
		behind != "" && !strings.ContainsAny(behind[:1], closing) ||
		startsWithDot(strings.TrimLeft(behind, closing)) {
		return name
	}
	return before + "|" + behind
}

const unknownSender = "unknown sender"

// address is the first old author's, in words.
func (a *authors) address() string {
	if len(a.list) == 0 || a.list[0].domain == "" {
		return unknownSender
	}
	return cleanName(addressInWords(a.list[0].local, a.list[0].domain))
}

// local is what stands before the @ of the first old author's address.
func (a *authors) local() string {
	if len(a.list) == 0 {
		return unknownSender
	}
	if local := clean(a.list[0].local, maxLocal); isReadable(local) {
		return local
	}
	return unknownSender
}

// displayName says in words who wrote: never with an @, and never as an address of a domain that is not the
// author's.
func (a *authors) displayName() string {
	first := oldAuthor{name: a.name}
	if len(a.list) > 0 {
		first = a.list[0]
	}
	text, whole := decodeName(first.name)
	name := cleanName(text)
	if !whole || strings.Contains(text, "=?") || !isReadable(name) || claimsAnother(name, first.domain) {
		name = a.address()
	}
	if len(a.list) > 1 {
		name += " et al."
	}
	return name
}

const maxLocal, maxDomain = 24, 36 // runes, in words

// addressInWords reads "alice at bank.example". The end of the domain is what counts, so that is always
// there.
func addressInWords(local, domain string) string {
	if runes := []rune(local); len(runes) > maxLocal {
		local = string(runes[:maxLocal-1]) + "…"
	}
	if len(domain) > maxDomain {
		domain = "…" + domain[len(domain)-maxDomain+1:]
	}
	if strings.ContainsAny(cleanName(local), " ") {
		return domain // a local part of several words could itself be read as an address
	}
	return local + " at " + domain
}

// cleanName is clean for the old display name.
func cleanName(s string) string { return clean(s, maxNameRunes) }

const (
	likeAt       = "@＠﹫ⓐⒶ🅐🅰"
	likeBrackets = "<>＜＞﹤﹥‹›〈〉⟨⟩〈〉❮❯❰❱˂˃ᐸᐳ⧼⧽"
)

// clean keeps of text what can be seen, and of that nothing that has a meaning in a header: it is safe inside
// a quoted string. Blanks are single ones. Of more runes than limit, the rest is cut off.
func clean(s string, limit int) string {
	var b strings.Builder
	last, n := ' ', 0
	for _, r := range s {
		text := string(r)
		switch {
		case strings.ContainsRune(likeAt, r):
			text = " at "
		case unicode.IsSpace(r) || strings.ContainsRune(likeBrackets, r):
			text = " "
		case r == '"' || r == '＂':
			text = "'"
		case r == '\\':
			text = "/"
		case r == '?' && last == '=': // readers that decode twice would see an encoded word
			continue
		case !unicode.IsGraphic(r) || isIgnorable(r):
			continue // controls, bidi overrides, what has no width
		}
		if last == ' ' {
			text = strings.TrimLeft(text, " ")
		}
		for _, r := range text {
			if n++; n > limit {
				return strings.TrimRight(b.String(), " ") + "…"
			}
			b.WriteRune(r)
			last = r
		}
	}
	return strings.TrimRight(b.String(), " ")
}

func isIgnorable(r rune) bool {
	return unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// isReadable tells whether a name tells anything: it has a letter, a digit or a symbol that is not a
// replacement character.
func isReadable(name string) bool {
	return strings.IndexFunc(name, func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) ||
			unicode.Is(unicode.So, r) && r != unicode.ReplacementChar
	}) >= 0
}

// claimsAnother tells whether a clean name reads as an address of a domain that is not the author's own,
// "boss at example.org". Receivers check the domain that they see in the address; people see the name.
func claimsAnother(name, own string) bool {
	words := spelledOut(name)
	for i, word := range words {
		behind := words[i+1:]
		// "ceo at.example.org"
		if len(word) > 2 && word[:2] == "at" && startsWithDot(word[2:]) {
			word, behind = "at", slices.Concat([]string{word[2:]}, behind)
		}
		if !readsAsAt(word) {
			continue
		}
		for len(behind) > 0 && (trimMarks(behind[0]) == "" || behind[0] == "t") { // "ⓐⓣ"
			behind = behind[1:]
		}
		if len(behind) == 0 {
			break
		}
		host, behind := behind[0], behind[1:]
		for len(behind) > 0 && startsWithDot(behind[0]) { // "example . org"
			host, behind = host+behind[0], behind[1:]
			if len(behind) > 0 && strings.TrimRight(host, dots) != host {
				host, behind = host+behind[0], behind[1:]
			}
		}
		host = trimMarks(host)
		if strings.ContainsAny(host, dots) && !isTime(host) && !domain.Aligned(domain.Canonical(host), own) {
			return true
		}
	}
	return false
}

// isTime is for "News at 10.30".
func isTime(word string) bool {
	hour, minute, _ := strings.Cut(word, ".")
	return len(hour) <= 2 && len(minute) == 2 && strings.Trim(hour+minute, "0123456789") == ""
}

// spelledOut gives the words of a name in lower case, in which each way to write an address for people, and
// what a mail program may make an @ of, is written alike: "at" between words, and a dot.
func spelledOut(name string) []string {
	// "ａｔ" is at, and "．" is a dot
	text := strings.ToLower(norm.NFKC.String(html.UnescapeString(name)))
	text = strings.NewReplacer("@", " at ", "=40", " at ", "%40", " at ", "-at-", " at ", "_", " ").
		Replace(text)
	words := strings.FieldsFunc(text, func(r rune) bool {
		return !unicode.In(r, unicode.L, unicode.N, unicode.M) && !strings.ContainsRune("-"+dots, r)
	})
	for i, word := range words {
		switch word {
		case "dot", "punkt", "punto", "ponto":
			words[i] = "."
		}
	}
	return words
}

// readsAsAt tells whether a word of a name looks like "at", in letters of whatever alphabet.
func readsAsAt(word string) bool {
	letters := strings.NewReplacer("а", "a", "α", "a", "ɑ", "a", "ᴀ", "a", "т", "t", "τ", "t", "ᴛ", "t")
	plain := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.M, r) {
			return -1
		}
		return r
	}, norm.NFKD.String(word))
	plain = trimMarks(letters.Replace(plain))
	return plain == "at" || plain == "arroba"
}

const dots = ".。·•․‧∙⋅։۔ꓸ"

func startsWithDot(word string) bool { return strings.TrimLeft(word, dots) != word }

// trimMarks drops what is neither letter nor digit at both ends.
func trimMarks(word string) string {
	return strings.TrimFunc(word, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}
