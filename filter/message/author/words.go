package author

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

// encoded is an encoded word (RFC 2047 section 2) that was read.
type encoded struct {
	charset string
	octets  []byte
	broken  bool // its encoding is, so octets are not all that was meant
}

// encodedWord reads the encoded word that s begins with; n is its length, 0 if there is none.
func encodedWord(s string) (w encoded, n int) {
	if !strings.HasPrefix(s, "=?") {
		return w, 0
	}
	charset, rest, _ := strings.Cut(s[2:], "?")
	if len(rest) < 2 || rest[1] != '?' {
		return w, 0
	}
	text, end, _ := strings.Cut(rest[2:], "?")
	if !strings.HasPrefix(end, "=") {
		return w, 0
	}
	w.charset, _, _ = strings.Cut(strings.ToLower(charset), "*") // RFC 2231 section 5: a language may follow
	switch rest[0] {
	case 'q', 'Q':
		w.octets, w.broken = qDecode(text)
	case 'b', 'B':
		text = strings.TrimRight(strings.ReplaceAll(text, " ", ""), "=")
		var err error
		w.octets, err = base64.RawStdEncoding.DecodeString(text)
		w.broken = err != nil
	default:
		return w, 0
	}
	return w, len(s) - len(end) + 1
}

func qDecode(s string) (octets []byte, broken bool) {
	octets = make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '_' {
			c = ' '
		} else if c == '=' {
			if b, err := hex.DecodeString(s[i+1 : min(i+3, len(s))]); err == nil && len(b) == 1 {
				c = b[0]
				i += 2
			} else {
				broken = true
			}
		}
		octets = append(octets, c)
	}
	return octets, broken
}

// decodeWords turns the encoded words in s into UTF-8, also those inside quoted strings, which RFC 2047
// forbids and readers decode. What cannot be read becomes U+FFFD.
func decodeWords(s string) string {
	text, _ := decodeName(s)
	return text
}

// decodeName is decodeWords for a name that is to be shown: whole is false if some of the text could not be
// read, or is cut off. The octets of neighbours in one character set go together: many mailers cut characters
// in two.
func decodeName(s string) (text string, whole bool) {
	var out strings.Builder
	var octets []byte // decoded, not yet UTF-8
	var charset string
	whole = true
	plain, afterWord := 0, false
	write := func(charset string, octets []byte) {
		converted, ok := toUTF8(charset, octets)
		out.WriteString(converted)
		whole = whole && ok
	}
	for i := 0; i < len(s); {
		w, n := encodedWord(s[i:])
		if n == 0 {
			whole = whole && !strings.HasPrefix(s[i:], "=?") // one that has no end
			i++
			continue
		}
		between := s[plain:i]
		if !afterWord || strings.TrimSpace(between) != "" { // blanks alone do not count, RFC 2047 section 6.2
			write(charset, octets)
			write("", []byte(between))
			octets = nil
		} else if w.charset != charset {
			write(charset, octets)
			octets = nil
		}
		charset, octets, whole = w.charset, append(octets, w.octets...), whole && !w.broken
		i += n
		plain, afterWord = i, true
	}
	write(charset, octets)
	write("", []byte(s[plain:]))
	return out.String(), whole
}

// toUTF8 converts text. What is not valid in its character set, or in UTF-8 where that set is not known,
// becomes U+FFFD; then, and if the text could mean something else, whole is false.
func toUTF8(charset string, octets []byte) (text string, whole bool) {
	switch set := charsetNamed(charset); {
	case set != nil:
		decoded, err := set.NewDecoder().Bytes(octets)
		if whole = err == nil; whole {
			octets = decoded
		}
	case slices.Contains([]string{"utf-7", "utf7", "unicode-1-1-utf-7", "x-unicode-2-0-utf-7",
		"csunicode11utf7"}, charset):
		text, whole = fromUTF7(octets)
		return text, whole && !strings.ContainsRune(text, utf8.RuneError)
	case slices.Contains([]string{"", "utf-8", "utf8", "us-ascii", "ascii", "ansi_x3.4-1968"}, charset):
		whole = !hasShifts(octets)
	default:
		whole = isPlain(octets)
	}
	text = strings.ToValidUTF8(string(octets), "\uFFFD")
	return text, whole && !strings.ContainsRune(text, utf8.RuneError)
}

// fromUTF7 converts UTF-7 (RFC 2152) as lenient readers do: any octet that is not of base64 ends what a + has
// started. whole is false if octets are no ASCII, or bits are left over that say something.
func fromUTF7(octets []byte) (text string, whole bool) {
	var out strings.Builder
	whole = true
	for i := 0; i < len(octets); i++ {
		if c := octets[i]; c != '+' {
			whole = whole && c < 0x80
			out.WriteByte(c)
			continue
		}
		start := i + 1
		var units []uint16
		bits, n := uint32(0), 0
		for i++; i < len(octets); i++ {
			value := strings.IndexByte(base64Digits, octets[i])
			if value < 0 {
				break
			}
			bits, n = bits<<6|uint32(value), n+6
			if n >= 16 {
				n -= 16
				units, bits = append(units, uint16(bits>>n)), bits&(1<<n-1)
			}
		}
		whole = whole && n < 6 && bits == 0
		isEnded := i < len(octets) && octets[i] == '-'
		switch {
		case isEnded && i == start:
			out.WriteByte('+')
		case i == start:
			out.WriteByte('+')
			whole = false
		}
		if !isEnded {
			i--
		}
		out.WriteString(string(utf16.Decode(units)))
	}
	return strings.ToValidUTF8(out.String(), "\uFFFD"), whole
}

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// hasShifts finds the codes by which ISO-2022-JP and its like leave ASCII (RFC 1468, RFC 1557).
func hasShifts(text []byte) bool {
	return bytes.Contains(text, []byte("\x1b$")) || bytes.Contains(text, []byte("\x1b(")) ||
		bytes.IndexByte(text, '\x0e') >= 0
}

// isPlain tells whether text reads as ASCII in whatever character set: UTF-7 leaves it by +, HZ by ~, others
// by octets that no ASCII text has.
func isPlain(text []byte) bool {
	return bytes.IndexFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '+' || r == '~' }) < 0
}

// wrapShifted makes encoded words of what stands in ISO-2022-JP (RFC 1468) as it is in a field: its octets
// look like specials.
func wrapShifted(value string) string {
	start := strings.Index(value, "\x1b$")
	if start < 0 {
		return value
	}
	var b strings.Builder
	for hasEnd := true; start >= 0; start = strings.Index(value, "\x1b$") {
		b.WriteString(value[:start])
		value = value[start:]
		end := -1
		if hasEnd {
			end = strings.Index(value, "\x1b(")
		}
		if hasEnd = end >= 0; hasEnd {
			end = min(end+len("\x1b(B"), len(value))
		} else if end = strings.Index(value, " <"); end < 0 {
			end = len(value)
		}
		b.WriteString("=?iso-2022-jp?b?" + base64.StdEncoding.EncodeToString([]byte(value[:end])) + "?=")
		value = value[end:]
	}
	return b.String() + value
}

// charmaps are the character sets of one octet a character, by their names in mail. ISO 8859-1 is read as the
// superset that mailers mean by it.
var charmaps = [...]struct {
	names string
	set   **charmap.Charmap // a pointer, so that the table costs no initialisation
}{
	{"iso-8859-1 latin1 windows-1252 cp1252", &charmap.Windows1252},
	{"iso-8859-2 latin2", &charmap.ISO8859_2},
	{"iso-8859-3", &charmap.ISO8859_3},
	{"iso-8859-4", &charmap.ISO8859_4},
	{"iso-8859-5", &charmap.ISO8859_5},
	{"iso-8859-6", &charmap.ISO8859_6},
	{"iso-8859-7", &charmap.ISO8859_7},
	{"iso-8859-8 iso-8859-8-i", &charmap.ISO8859_8},
	{"iso-8859-9 windows-1254", &charmap.Windows1254},
	{"iso-8859-10", &charmap.ISO8859_10},
	{"iso-8859-13", &charmap.ISO8859_13},
	{"iso-8859-14", &charmap.ISO8859_14},
	{"iso-8859-15 latin-9 latin9", &charmap.ISO8859_15},
	{"iso-8859-16", &charmap.ISO8859_16},
	{"macintosh x-mac-roman", &charmap.Macintosh},
	{"x-mac-cyrillic", &charmap.MacintoshCyrillic},
	{"ibm037 cp037", &charmap.CodePage037}, // EBCDIC
	{"ibm1047 cp1047", &charmap.CodePage1047},
	{"ibm01140 cp1140", &charmap.CodePage1140},
	{"ibm437 cp437", &charmap.CodePage437},
	{"ibm850 cp850", &charmap.CodePage850},
	{"ibm852 cp852", &charmap.CodePage852},
	{"ibm855 cp855", &charmap.CodePage855},
	{"ibm00858 cp858", &charmap.CodePage858},
	{"ibm862 cp862", &charmap.CodePage862},
	{"ibm866 cp866", &charmap.CodePage866},
	{"windows-1250", &charmap.Windows1250},
	{"windows-1251", &charmap.Windows1251},
	{"windows-1253", &charmap.Windows1253},
	{"windows-1255", &charmap.Windows1255},
	{"windows-1256", &charmap.Windows1256},
	{"windows-1257", &charmap.Windows1257},
	{"windows-1258", &charmap.Windows1258},
	{"windows-874 tis-620 iso-8859-11", &charmap.Windows874},
	{"koi8-r", &charmap.KOI8R},
	{"koi8-u", &charmap.KOI8U},
}

// charsetNamed knows the character sets of names in mail. The complete index of x/text would cost each start
// of the program 0.1 ms.
func charsetNamed(name string) encoding.Encoding {
	switch name {
	case "gb2312", "gbk", "gb18030":
		return simplifiedchinese.GB18030
	case "big5":
		return traditionalchinese.Big5
	case "euc-kr", "ks_c_5601-1987":
		return korean.EUCKR
	case "iso-2022-jp":
		return japanese.ISO2022JP
	case "shift_jis", "windows-31j", "cp932":
		return japanese.ShiftJIS
	case "euc-jp":
		return japanese.EUCJP
	}
	for _, known := range charmaps {
		for alias := range strings.FieldsSeq(known.names) {
			if alias == name {
				return *known.set
			}
		}
	}
	return nil
}
