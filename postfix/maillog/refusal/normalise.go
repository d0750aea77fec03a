package refusal

import "strings"

// maxAnswer is how much of an answer is looked at, in octets; RFC 5321 allows 512 a line, and Gmail needs
// several.
const maxAnswer = 4096

// Normalise brings an answer, as Postfix logs it, into the form that patterns are written for: lower case,
// without the name of the host that gave it, without the codes that a folded reply repeats on each line
// and without addresses, which are the message's and not the receiver's words.
func Normalise(answer string) string {
	if len(answer) > maxAnswer {
		answer = answer[:maxAnswer]
	}
	text := withoutHost(strings.ToLower(answer))
	for _, apostrophe := range []string{"’", "‘", "`"} {
		text = strings.ReplaceAll(text, apostrophe, "'")
	}
	words := strings.Fields(text)
	kept := words[:0]
	enhanced := ""
	for n := 0; n < len(words); n++ {
		word := words[n]
		code, rest := replyCode(word)
		switch {
		case code && rest == "": // "550", alone; an enhanced code may follow it
		case code && isEnhanced(rest): // "550-5.7.26"
			word = rest
			fallthrough
		case isEnhanced(word):
			if word == enhanced {
				continue
			}
			enhanced = word
			kept = append(kept, word)
		case code && n > 0: // "550-Reject": a line of a folded reply without enhanced code
			kept = append(kept, rest)
		default:
			kept = append(kept, withoutAddress(word))
		}
	}
	return strings.Join(kept, " ")
}

// withoutHost drops "host NAME[ADDRESS] said: " and what else Postfix puts before an answer.
func withoutHost(text string) string {
	if !strings.HasPrefix(text, "host ") {
		return text
	}
	for _, marker := range []string{" said: ", " refused to talk to me: "} {
		if _, answer, found := strings.Cut(text, marker); found {
			return answer
		}
	}
	return text
}

// replyCode tells whether a word is a reply code (RFC 5321 section 4.2), and gives what follows its hyphen.
func replyCode(word string) (found bool, rest string) {
	if len(word) < 3 || word[0] < '2' || word[0] > '5' || !isDigit(word[1]) || !isDigit(word[2]) {
		return false, ""
	}
	if len(word) == 3 {
		return true, ""
	}
	return word[3] == '-', word[4:]
}

// isEnhanced tells whether a word is an enhanced status code (RFC 3463).
func isEnhanced(word string) bool {
	if len(word) < 5 || word[0] < '2' || word[0] > '5' || word[1] != '.' {
		return false
	}
	dots := 0
	for n := range len(word) {
		switch {
		case word[n] == '.':
			dots++
		case !isDigit(word[n]):
			return false
		}
	}
	return dots == 2 && isDigit(word[len(word)-1])
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// withoutAddress puts "<>" for an address in angles and "address" for one without. An address in a URL
// stays, and so does the contact by which one receiver is known.
func withoutAddress(word string) string {
	if open := strings.IndexByte(word, '<'); open >= 0 {
		if end := strings.LastIndexByte(word, '>'); end > open && strings.Contains(word[open:end], "@") {
			return word[:open] + "<>" + word[end+1:]
		}
	}
	at := strings.IndexByte(word, '@')
	if at < 0 || strings.Contains(word, "/") || strings.HasPrefix(word, "tosa@") {
		return word
	}
	const beside = "<>()[],;:=\"'"
	start := strings.LastIndexAny(word[:at], beside) + 1
	end := len(word)
	if n := strings.IndexAny(word[at:], beside); n >= 0 {
		end = at + n
	}
	end -= len(word[at:end]) - len(strings.TrimRight(word[at:end], ".")) // which end a sentence
	return word[:start] + "address" + word[end:]
}

// squeeze makes one blank of each run of white space.
func squeeze(s string) string {
	var b strings.Builder
	blank := false
	for _, c := range s {
		if c == ' ' || c == '\t' || c == '\n' {
			if !blank {
				b.WriteByte(' ')
			}
			blank = true
			continue
		}
		blank = false
		b.WriteRune(c)
	}
	return b.String()
}
