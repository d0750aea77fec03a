// Package author is about From: (RFC 5322 section 3.6.2): the domains that any receiver could read in it, and
// how another address takes the author's place.
package author

import (
	"net/mail"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"postmend/dkim"
	"postmend/filter/domain"
)

// Domains gives the domains, canonical and each once, that a receiver could take for the author's.
//
// A value that is plain (see plainDomains) is read by all in the same way. Any other is read in every way
// that is plausible, and the domains of all these ways count, those of the strict one (RFC 5322) included:
// comments, quotes, angle brackets, invisible and foreign characters are skipped by some readers, end an
// address for others, and belong to it for a third kind.
//
// What cannot be a domain name, for a label that is too long or starts with a hyphen, counts as well:
// receivers find the policy of the domain above it. Such a domain is in lower case, not canonical, and
// nothing proves it.
func (f Fields) Domains() []string {
	var domains []string
	seen := map[string]bool{}
	add := func(name string) {
		if domain.Name(name) == "" {
			if name = strings.Map(visible, name); strings.IndexByte(name, '.') <= 0 {
				return // neither a name nor below one
			}
		}
		if !seen[name] {
			seen[name] = true
			domains = append(domains, name)
		}
	}
	for _, value := range f {
		if plain, ok := plainDomains(value); ok && len(f) == 1 {
			for _, domain := range plain {
				add(domain)
			}
			continue
		}
		strictDomains(value, add)
		wideDomains(value, add)
		// A CR within a line is dropped by some, and ends the field for others.
		const enough = 32
		before := ""
		for _, piece := range strings.SplitN(value, "\r", enough) {
			before += piece
			domainsBehindAt(before, add)
		}
	}
	return domains
}

// MayName tells whether somebody could read a canonical domain in fields that are not plain, in a way that
// Domains does not know: whether its characters stand behind an @ in this order, whatever is between them.
func (f Fields) MayName(name string) bool {
	if len(f) == 1 {
		if _, ok := plainDomains(f[0]); ok {
			return false
		}
	}
	all := strings.Join(f, ", ")
	unicode, err := idna.ToUnicode(name)
	if err != nil {
		unicode = name
	}
	for _, text := range [...]string{all, decodeLeniently(all), decodeApart(all)} {
		_, behind, _ := strings.Cut(strings.NewReplacer("＠", "@", "﹫", "@").Replace(text), "@")
		behind = strings.ToLower(behind)
		if isSubsequence(name, behind) || isSubsequence(unicode, behind) {
			return true
		}
	}
	return false
}

// isSubsequence tells whether all characters of s stand in text in the same order.
func isSubsequence(s, text string) bool {
	for _, r := range s {
		_, rest, found := strings.Cut(text, string(r))
		if !found {
			return false
		}
		text = rest
	}
	return true
}

// visible makes a question mark of what has no place in a domain name or a domain literal.
func visible(r rune) rune {
	if r == '[' || r == ']' || r == ':' || r < 0x80 && isDomainOctet(byte(r)) {
		return r
	}
	return '?'
}

// strictDomains reads a value by RFC 5322, obsolete forms as far as net/mail knows them.
func strictDomains(value string, add func(domain string)) {
	list, _ := mail.ParseAddressList(dkim.Unfold([]byte(value)))
	for _, address := range list {
		addWord(address.Address[strings.LastIndexByte(address.Address, '@')+1:], add)
	}
}

// maxOddFrom bounds what is read in every way, in octets of all From: fields.
const maxOddFrom = 8 << 10

// wideDomains reads a value in the ways that strictDomains does not. Readers decode encoded words before they
// parse, or do not; they skip comments, or do not know them; of octets that are no visible ASCII they keep,
// skip or stop at some; and what stands within a domain without being a part of it they skip or stop at.
func wideDomains(value string, add func(domain string)) {
	steps := [...][]func(string) string{
		{unfolded, closedAtFolds},
		{asItIs, decodeLeniently, decodeApart},
		{commentsApart, withoutComments, withoutUnescapedComments, withoutFlatComments,
			withoutTrimmedComments, withoutInnerComments},
		{asItIs, dropNULs, dropInvalid, dropJunk},
		{asItIs, separateSpaces, separateForeign, dropInvisible, dropForeign},
	}
	texts := []string{value}
	for _, ways := range steps {
		var read []string
		seen := map[string]bool{}
		for _, text := range texts {
			for _, way := range ways {
				if made := way(text); !seen[made] {
					seen[made] = true
					read = append(read, made)
				}
			}
		}
		texts = read
	}
	gluedBlanks := gluedAcross("\"\\[]) \t")
	glues := [...]func(string) string{gluedAtDots, gluedAcross("\"\\[])"), gluedAcross("<>\"\\[])"),
		gluedBlanks, gluedThroughout}
	for _, text := range texts {
		domainsBehindAt(text, add)
		for _, glue := range glues {
			if glued := glue(text); glued != text {
				domainsBehindAt(glued, add)
			}
		}
	}
	for _, way := range [...]func(string) string{asItIs, dropJunk, dropForeign} {
		text := way(unfolded(value))
		joinedDomains(text, add)
		joinedDomains(gluedBlanks(text), add)
	}
}

// joinedDomains adds a word behind an @ joined with each word that follows a closing quote, bracket or
// parenthesis later in the same mailbox: whatever stands between is passed over by the one reader or the
// other.
func joinedDomains(value string, add func(domain string)) {
	const enough = 64 // of each
	for part := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == ';' }) {
		starts := "@"
		for range enough {
			at := strings.IndexAny(part, starts)
			if at < 0 {
				break
			}
			starts = "@)" // a comment may stand behind the @
			part = strings.TrimLeft(part[at+1:], blanks)
			first := part[:domainLen(part)]
			later := strings.TrimLeft(part[len(first):], blanks)
			if first == "" || later == "" || strings.IndexByte(`()<>"`, later[0]) < 0 {
				continue
			}
			closers := `)>"`
			if later[0] == '>' {
				closers = `)>"<` // another one behind a closed one
			}
			for range enough {
				at := strings.IndexAny(later, closers)
				if at < 0 {
					break
				}
				later = strings.TrimLeft(later[at+1:], blanks)
				second := later[:domainLen(later)]
				if second != "" && strings.IndexByte(first+second, '.') > 0 {
					add(domain.Canonical(first + second))
				}
			}
		}
	}
}

// domainLen is how many octets of s from its start could be of a domain.
func domainLen(s string) int {
	n := 0
	for n < len(s) && n < maxDomainWord && isDomainOctet(s[n]) {
		n++
	}
	return n
}

// domainsBehindAt finds all words with a dot that stand behind an @: comments, quotes and brackets between
// them are skipped by some readers and not by others. The last word before another @ is the local part of
// that one's address.
func domainsBehindAt(value string, add func(domain string)) {
	_, rest, found := strings.Cut(value, "@")
	for found {
		var segment string
		segment, rest, found = strings.Cut(rest, "@")
		last := "" // word with a dot
		for start := 0; start < len(segment); start++ {
			end := start
			for end < len(segment) && isDomainOctet(segment[end]) {
				end++
			}
			whole := strings.Trim(segment[start:end], ".")
			word := strings.Trim(whole, "-.")
			if word != whole {
				addWord(whole, add)
			}
			if strings.ContainsAny(word, ".。．｡") {
				addWord(last, add)
				last = word
			}
			start = end
		}
		isLocalPart := found && strings.HasSuffix(segment, last) && strings.TrimLeft(segment, "<( \t") != last
		if !isLocalPart {
			addWord(last, add)
		}
	}
}

// addWord adds a word in all its spellings, and with one dot where it has several after each other.
func addWord(word string, add func(domain string)) {
	if len(word) > maxDomainWord {
		word = word[len(word)-maxDomainWord:] // no name, but below one
	}
	for _, name := range spellings(word) {
		add(name)
	}
	if strings.Contains(word, "..") {
		addWord(strings.Join(strings.FieldsFunc(word, func(r rune) bool { return r == '.' }), "."), add)
	}
}

// maxDomainWord is more octets than any writing of a domain name of 253 characters takes.
const maxDomainWord = 4 * 253

// spellings gives what readers make of a domain in letters that are not ASCII: by UTS 46, with its
// transitional mappings (ß is ss), and by Punycode alone (RFC 3492) after lower-casing, for which ẞ is ß.
func spellings(word string) []string {
	if isASCII(word) {
		return []string{domain.Canonical(word)}
	}
	names := []string{domain.Canonical(word)}
	transitional := idna.New(idna.MapForLookup(), idna.Transitional(true))
	for _, toASCII := range [...]func(string) (string, error){transitional.ToASCII, idna.Punycode.ToASCII} {
		name, err := toASCII(strings.ToLower(word))
		if name = domain.Canonical(name); err == nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// isDomainOctet tells whether a domain may have an octet. Of those that are not ASCII, IDNA decides.
func isDomainOctet(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c >= 0x80 ||
		c == '-' || c == '_' || c == '.'
}
