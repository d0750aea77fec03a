package dns

import (
	"errors"
	"slices"
	"strconv"

	"golang.org/x/net/dns/dnsmessage"
)

// maxAliases bounds a chain of CNAMEs.
const maxAliases = 16

// reply is a reply whose answers have not been read yet.
type reply struct {
	dnsmessage.Header
	question dnsmessage.Question
	parser   dnsmessage.Parser // at the first answer
}

// parseReply is not ok for anything but a reply to the question with that id (RFC 5452 section 9.1).
func parseReply(packed []byte, id uint16, q dnsmessage.Question) (*reply, bool) {
	r := &reply{question: q}
	var err error
	if r.Header, err = r.parser.Start(packed); err != nil || !r.Response || r.OpCode != 0 || r.ID != id {
		return nil, false
	}
	repeated, err := r.parser.Question()
	if err != nil || repeated.Type != q.Type || repeated.Class != q.Class ||
		!sameName(&repeated.Name, &q.Name) {
		return nil, false
	}
	return r, errors.Is(r.parser.SkipQuestion(), dnsmessage.ErrSectionDone)
}

// sameName compares without regard to the case of ASCII letters (RFC 4343).
func sameName(a, b *dnsmessage.Name) bool {
	if a.Length != b.Length {
		return false
	}
	for i := range a.Length {
		if lower(a.Data[i]) != lower(b.Data[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// records gives at least one record, or an error.
func (r *reply) records() ([]dnsmessage.ResourceBody, error) {
	answers, err := r.answers()
	if err != nil {
		return nil, errGarbled
	}
	switch code := r.code(); code {
	case dnsmessage.RCodeSuccess:
	case dnsmessage.RCodeNameError:
		return nil, ErrNoSuchName // the end of a chain of aliases counts (RFC 6604 section 3)
	case dnsmessage.RCodeServerFailure:
		return nil, ErrServerFailure
	default:
		return nil, errors.New("the server answers " + codeName(code))
	}
	owner, err := endOfChain(r.question, answers)
	if err != nil {
		return nil, err
	}
	var found []dnsmessage.ResourceBody
	for _, a := range answers {
		if a.Header.Type == r.question.Type && sameName(&a.Header.Name, &owner) && isPrintable(a.Body) {
			found = append(found, a.Body)
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case !r.RecursionAvailable && (!r.Authoritative || !sameName(&owner, &r.question.Name)):
		return nil, errLame
	}
	return nil, errNoSuchRecord
}

// endOfChain follows CNAMEs in any order.
func endOfChain(q dnsmessage.Question, answers []dnsmessage.Resource) (dnsmessage.Name, error) {
	owner := q.Name
	for range maxAliases {
		next := owner
		for _, a := range answers {
			alias, ok := a.Body.(*dnsmessage.CNAMEResource)
			if ok && q.Type != dnsmessage.TypeCNAME && sameName(&a.Header.Name, &owner) {
				next = alias.CNAME
				break
			}
		}
		if sameName(&next, &owner) {
			return owner, nil
		}
		owner = next
	}
	return owner, errLoop
}

// answers reads the aliases, and the records of the type that was asked for.
func (r *reply) answers() ([]dnsmessage.Resource, error) {
	var answers []dnsmessage.Resource
	for {
		header, err := r.parser.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return answers, nil
		}
		if err != nil {
			return nil, err
		}
		isWanted := header.Type == r.question.Type || header.Type == dnsmessage.TypeCNAME
		if isWanted && header.Class == dnsmessage.ClassINET {
			body, err := r.body(header.Type)
			if err != nil {
				return nil, err
			}
			if body != nil {
				answers = append(answers, dnsmessage.Resource{Header: header, Body: body})
				continue
			}
		}
		if err := r.parser.SkipAnswer(); err != nil {
			return nil, err
		}
	}
}

// body is nil for other types, and for an MX or PTR record whose name is not printable. A record that is
// malformed otherwise makes the reply unreadable.
func (r *reply) body(kind dnsmessage.Type) (dnsmessage.ResourceBody, error) {
	switch kind {
	case dnsmessage.TypeA:
		body, err := r.parser.AResource()
		return &body, err
	case dnsmessage.TypeAAAA:
		body, err := r.parser.AAAAResource()
		return &body, err
	case dnsmessage.TypeCNAME:
		body, err := r.parser.CNAMEResource()
		return &body, err
	case dnsmessage.TypeTXT:
		body, err := r.parser.TXTResource()
		return &body, err
	case dnsmessage.TypeMX:
		if body, err := r.parser.MXResource(); err == nil {
			return &body, nil
		}
	case dnsmessage.TypePTR:
		if body, err := r.parser.PTRResource(); err == nil {
			return &body, nil
		}
	}
	return nil, nil
}

// isPrintable is false for MX and PTR records with other octets than printable ASCII: they do not name hosts,
// and could control a terminal.
func isPrintable(body dnsmessage.ResourceBody) bool {
	var name dnsmessage.Name
	switch body := body.(type) {
	case *dnsmessage.MXResource:
		name = body.MX
	case *dnsmessage.PTRResource:
		name = body.PTR
	}
	return !slices.ContainsFunc(name.Data[:name.Length], func(c byte) bool { return c <= ' ' || c > '~' })
}

// code is the response code, with its upper bits, which are in the OPT record (RFC 6891 section 6.1.3). Call
// it after the answers were read.
func (r *reply) code() dnsmessage.RCode {
	if r.parser.SkipAllAuthorities() != nil {
		return r.RCode
	}
	for {
		header, err := r.parser.AdditionalHeader()
		if err != nil {
			return r.RCode
		}
		if header.Type == dnsmessage.TypeOPT {
			return header.ExtendedRCode(r.RCode)
		}
		if r.parser.SkipAdditional() != nil {
			return r.RCode
		}
	}
}

func codeName(code dnsmessage.RCode) string {
	switch code {
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	}
	return "with code " + strconv.Itoa(int(code))
}
