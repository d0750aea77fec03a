// Package arrival writes down where a message came from when it is delivered here, in a field that only
// this host can make, and reads it when a local program (Sieve, procmail) sends the message on:
//
//	X-Postmend-Arrival: v=1; t=1764331327; i=192.0.2.1; n=mail.example.com; p=ESMTP;
//		e=mail.example.com; f=alice@example.com; r=bob@example.org; o=info@example.org;
//		x=to; hn=…; ha=…; hh=…; bh=…; b=…
//
// The form is that of DKIM tags (RFC 6376 section 3.2), values in its quoted-printable (section 2.11).
// Hashes are SHA-256: hn and ha of the name and the address of the one author that From: names, without
// regard to quotes; hf of the From: fields, where they name no such author or his name is too long; hh of To,
// Cc, Subject, Date, Message-ID, In-Reply-To, Reply-To, and of the fields that tell how to read the body
// (MIME-Version, Content-Type, Content-Transfer-Encoding, Content-Disposition), where an absent field counts
// too; bh of the body. Fields and body are in their relaxed forms (section 3.4), so that folds, blanks and
// line ends do not matter. x lists the fields that hh leaves out: address fields that Postfix writes anew
// when a program here submits the message again ("To: bob", for one).
// b is an HMAC-SHA-256 over all other tags.
//
// Long lines are the caller's concern: it gives header and body as smtp(8) and lmtp(8) would fold them
// on the way to a mailbox.
//
// A seal proves origin, never authority: it tells that a message came from outside, and from which client.
// What follows from that is the caller's decision.
package arrival

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"postmend/dkim"
	"postmend/filter/message/author"
)

// FieldName is the name of the field.
const FieldName = "X-Postmend-Arrival"

// Origin is what was known of a message when it arrived. A text that is longer than its limit is not
// written down: it comes back as "not known".
type Origin struct {
	Time      time.Time  // in whole seconds
	Client    netip.Addr // the SMTP client; the zero value is not known
	Name      string     // its host name; "" is not known; at most 255 octets
	Protocol  string     // ESMTP, SMTP; at most 32 octets
	HELO      string     // the name it gave; at most 255 octets
	Sender    *string    // reverse-path; "" is the null sender, nil is not known; at most 320 octets
	Recipient string     // as it is delivered; "" if there are several; at most 320 octets
	Original  string     // before aliases; "" is not known; at most 320 octets
	// Verdict is what was found out about the message on arrival; nil if nobody did.
	Verdict *Verdict
}

const (
	maxName     = 255                     // octets of a host name (RFC 1035 section 2.3.4)
	maxProtocol = 32                      // octets
	maxAddress  = 64 + 1 + 255            // octets of an address (RFC 5321 section 4.5.3.1)
	maxField    = 16 << 10                // octets of a field that is read; one that is written has less
	label       = "postmend arrival seal" // of the derived key
)

// Keys seal and verify: the first one seals, all verify.
type Keys [][]byte

// DeriveKeys makes the keys from the SRS secrets, one each (HKDF, RFC 5869).
func DeriveKeys(secrets [][]byte) (Keys, error) {
	var keys Keys
	for _, secret := range secrets {
		key, err := hkdf.Key(sha256.New, secret, nil, label, sha256.Size)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// Content is what a seal covers of a message.
type Content struct {
	Header dkim.Header
	// Author is From: as author.Fields.Mailbox gives it; the zero value if From: has no such form.
	Author author.Mailbox
	// Body is the closed body in relaxed form. One that cannot be hashed without doubt, with a CR within
	// a line, fits no seal. A seal that is made without one, nil, tells only where a message came from.
	Body *dkim.BodyHash
}

// Seal makes the field. There is at least one key.
func (k Keys) Seal(origin Origin, content Content) dkim.Field {
	tags := tags{{"v", "1"}, {"t", strconv.FormatInt(origin.Time.Unix(), 10)}}
	put := func(name, value string, limit int) {
		if value != "" && len(value) <= limit {
			tags = append(tags, tag{name, encode(value)})
		}
	}
	if origin.Client.IsValid() {
		put("i", origin.Client.Unmap().WithZone("").String(), maxName)
	}
	put("n", origin.Name, maxName)
	put("p", origin.Protocol, maxProtocol)
	put("e", origin.HELO, maxName)
	if origin.Sender != nil && len(*origin.Sender) <= maxAddress {
		tags = append(tags, tag{"f", encode(*origin.Sender)})
	}
	put("r", origin.Recipient, maxAddress)
	put("o", origin.Original, maxAddress)
	tags = append(tags, origin.Verdict.tags()...)
	rewritten := rewrittenFields(content.Header)
	put("x", strings.Join(rewritten, ":"), maxName)
	if a := content.Author; a.Address != "" {
		tags = append(tags, tag{"hn", hashOfText(a.Name)}, tag{"ha", hashOfText(a.Address)})
	} else {
		tags = append(tags, tag{"hf", hashOf(content.Header, authorFields)})
	}
	tags = append(tags, tag{"hh", hashOf(content.Header, covered(rewritten, origin.Verdict))})
	if content.Body == nil {
		// nothing fits it
	} else if sum, err := content.Body.Sum(); err == nil {
		tags = append(tags, tag{"bh", base64.StdEncoding.EncodeToString(sum[:])})
	}
	mac := mac(k[0], tags)
	return append(tags, tag{"b", base64.StdEncoding.EncodeToString(mac)}).field()
}

// Sealed is a seal that was made here.
type Sealed struct {
	Origin
	// AuthorChanged is set if From: is not what was sealed.
	AuthorChanged bool
	// AuthorReplaced is set if From: named one author and names one, and both name and address are others: a
	// program here wrote that, and no map of Postfix's.
	AuthorReplaced bool
	// NamesNobody is set if no author was sealed, as in a header that was too long to be read.
	NamesNobody bool

	rewritten    []string // fields that are not covered
	header, body string   // hashes
}

// ErrInvalid says that a message has a field of the seal's name that is not a seal of these keys, or several.
// Programs on this host write none: such a message has been elsewhere.
var ErrInvalid = errors.New("invalid " + FieldName)

// Find gives the seal of a message, of which it needs no body; nil if it has no such field. The error is
// ErrInvalid.
func (k Keys) Find(content Content) (*Sealed, error) {
	var field dkim.Field
	for _, f := range content.Header {
		if !f.Is(FieldName) {
			continue
		}
		if field != nil {
			return nil, ErrInvalid
		}
		field = f
	}
	if field == nil {
		return nil, nil
	}
	tags, given, ok := parse(field.Value())
	if !ok || !k.made(tags, given) {
		return nil, ErrInvalid
	}
	sealed, ok := tags.sealed()
	if !ok {
		return nil, ErrInvalid
	}
	sealed.compareAuthor(tags, content)
	return sealed, nil
}

func (s *Sealed) compareAuthor(tags tags, content Content) {
	address, isMailbox := tags.value("ha")
	if !isMailbox {
		from, _ := tags.value("hf")
		s.AuthorChanged = from != hashOf(content.Header, authorFields)
		s.NamesNobody = from == hashOf(nil, authorFields)
		return
	}
	name, _ := tags.value("hn")
	now := content.Author
	isOtherName, isOtherAddress := name != hashOfText(now.Name), address != hashOfText(now.Address)
	s.AuthorChanged = isOtherName || isOtherAddress
	s.AuthorReplaced = isOtherName && isOtherAddress && now.Address != ""
}

// made tells whether one of the keys made the HMAC.
func (k Keys) made(tags tags, given []byte) bool {
	valid := false
	for _, key := range k {
		valid = hmac.Equal(given, mac(key, tags)) || valid
	}
	return valid
}

// Fits tells whether the message is still what was sealed: the fields that a seal covers, and the body.
// A Message-ID or Date that the message came without may have been added: Pigeonhole and cleanup(8) do
// that.
func (s *Sealed) Fits(content Content) bool {
	sum, err := content.Body.Sum()
	if err != nil || s.AuthorChanged || s.body != base64.StdEncoding.EncodeToString(sum[:]) {
		return false
	}
	for _, added := range [][]string{nil, {"message-id"}, {"date"}, {"message-id", "date"}} {
		header, ok := without(content.Header, added)
		if ok && s.header == hashOf(header, covered(s.rewritten, s.Verdict)) {
			return true
		}
	}
	return false
}

// without leaves fields out; ok is false unless the header has each of them once.
func without(header dkim.Header, names []string) (rest dkim.Header, ok bool) {
	for _, name := range names {
		is := func(f dkim.Field) bool { return f.Is(name) }
		before := len(header)
		header = slices.DeleteFunc(slices.Clone(header), is)
		if len(header) != before-1 {
			return nil, false
		}
	}
	return header, true
}

// maxSkew is how far the clocks of two hosts that share the secrets may differ.
const maxSkew = 24 * time.Hour

// Current tells whether a seal is not older than maxAge, nor from the future.
func (s *Sealed) Current(now time.Time, maxAge time.Duration) bool {
	age := now.Sub(s.Time)
	return age <= maxAge && age >= -maxSkew
}

var (
	authorFields = []string{"from"}
	otherFields  = []string{"to", "cc", "subject", "date", "message-id", "in-reply-to", "reply-to",
		"mime-version", "content-type", "content-transfer-encoding", "content-disposition"}
)

// covered are the fields that hh covers.
func covered(rewritten []string, verdict *Verdict) []string {
	isRewritten := func(name string) bool { return slices.Contains(rewritten, name) }
	return slices.DeleteFunc(slices.Concat(otherFields, verdict.signed()), isRewritten)
}

// rewrittenFields are those that change when a program here submits the message again.
func rewrittenFields(header dkim.Header) (names []string) {
	for _, name := range []string{"to", "cc", "reply-to"} {
		changes := func(f dkim.Field) bool { return f.Is(name) && !author.IsKept(f.Value()) }
		if slices.ContainsFunc(header, changes) {
			names = append(names, name)
		}
	}
	return names
}

func hashOfText(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// hashOf is the base64 of the SHA-256 over the fields with the given lower-case names, in their relaxed
// forms: name by name, of each name from top to bottom, and a line with the bare name where there is
// none.
func hashOf(header dkim.Header, names []string) string {
	hash := sha256.New()
	found := make([][]dkim.Field, len(names))
	for _, field := range header {
		if i := slices.IndexFunc(names, field.Is); i >= 0 {
			found[i] = append(found[i], field)
		}
	}
	var buffer []byte
	for i, name := range names {
		if len(found[i]) == 0 {
			buffer = append(append(buffer[:0], name...), "\r\n"...)
			hash.Write(buffer)
		}
		for _, field := range found[i] {
			buffer = field.AppendRelaxed(buffer[:0])
			hash.Write(buffer)
		}
	}
	return base64.StdEncoding.EncodeToString(hash.Sum(nil))
}
