package arrival

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"postmend/dkim"
)

// tag is a name and its value, encoded.
type tag struct{ name, value string }

type tags []tag

func (t tags) value(name string) (value string, found bool) {
	i := slices.IndexFunc(t, func(t tag) bool { return t.name == name })
	if i < 0 {
		return "", false
	}
	return t[i].value, true
}

// mac is the HMAC over tags, each with its semicolon, without any blanks.
func mac(key []byte, tags tags) []byte {
	mac := hmac.New(sha256.New, key)
	for _, t := range tags {
		fmt.Fprintf(mac, "%s=%s;", t.name, t.value)
	}
	return mac.Sum(nil)
}

// maxLine is the octets of a line that is written (RFC 5322 section 2.1.1).
const maxLine = 78

// field writes the tags. A value that does not fit on a line is folded within itself.
func (t tags) field() dkim.Field {
	field := []byte(FieldName + ":")
	column := len(field)
	fold := func() {
		field = append(field, "\r\n\t"...)
		column = 8
	}
	for i, tag := range t {
		text := tag.name + "=" + tag.value
		if i < len(t)-1 {
			text += ";"
		}
		if column+1+len(text) > maxLine && column > 8 {
			fold()
		} else {
			field = append(field, ' ')
			column++
		}
		for len(text) > maxLine-column {
			n := maxLine - column
			field = append(field, text[:n]...)
			text = text[n:]
			fold()
		}
		field = append(field, text...)
		column += len(text)
	}
	return append(field, "\r\n"...)
}

// maxTags bounds the tags that are read; fewer are written.
const maxTags = 30

// parse reads a field's value into all tags but b, which is last and comes back decoded. It is strict:
// v=1 comes first, no tag comes twice, and nothing but blanks and line ends stands between.
func parse(value []byte) (tags tags, mac []byte, ok bool) {
	if len(value) > maxField {
		return nil, nil, false
	}
	text := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, string(value))
	for part := range strings.SplitSeq(text, ";") {
		name, value, found := strings.Cut(part, "=")
		if _, twice := tags.value(name); !found || twice || len(tags) > maxTags {
			return nil, nil, false
		}
		tags = append(tags, tag{name, value})
	}
	last := tags[len(tags)-1]
	mac, err := base64.StdEncoding.Strict().DecodeString(last.value)
	if err != nil || last.name != "b" || tags[0] != (tag{"v", "1"}) {
		return nil, nil, false
	}
	return tags[:len(tags)-1], mac, true
}

// sealed decodes tags whose HMAC holds: what is wrong in them, a newer version of this program has
// written.
func (t tags) sealed() (s *Sealed, ok bool) {
	s = &Sealed{}
	if s.header, ok = t.value("hh"); !ok {
		return nil, false
	}
	s.body, _ = t.value("bh")
	stamp, _ := t.value("t")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return nil, false
	}
	s.Time = time.Unix(seconds, 0)
	text := func(name string) string {
		encoded, _ := t.value(name)
		decoded, err := decode(encoded)
		ok = ok && err == nil
		return decoded
	}
	s.Name, s.Protocol, s.HELO = text("n"), text("p"), text("e")
	s.Recipient, s.Original = text("r"), text("o")
	if x := text("x"); x != "" {
		s.rewritten = strings.Split(x, ":")
	}
	if _, known := t.value("f"); known {
		sender := text("f")
		s.Sender = &sender
	}
	var isVerdict bool
	if s.Verdict, isVerdict = t.verdict(); !isVerdict {
		return nil, false
	}
	if address := text("i"); address != "" {
		if s.Client, err = netip.ParseAddr(address); err != nil {
			return nil, false
		}
	}
	return s, ok
}

// encode writes DKIM's quoted-printable (RFC 6376 section 2.11).
func encode(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == ';' || c == '=' {
			fmt.Fprintf(&b, "=%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func decode(s string) (string, error) {
	var b bytes.Buffer
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", hex.ErrLength
		}
		octet, err := hex.DecodeString(s[i+1 : i+3])
		if err != nil {
			return "", err
		}
		b.Write(octet)
		i += 2
	}
	return b.String(), nil
}
