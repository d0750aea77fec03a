package authn

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
)

// ErrTooManyLookups is wrapped by the error of a look-up beyond the limit. It is not temporary: the same message would ask as much again.
var ErrTooManyLookups = errors.New("the message asks for too many DNS look-ups")

// maxLookups bounds what one message may ask. It is above what the parts may ask by their own limits: SPF 111 (RFC 7208 section 4.6.4:
// ten terms, each with up to eleven look-ups), DMARC 8 for each author domain, aligned signature and SPF domain, DKIM one a signature, ARC 100. So
// none of them can starve another, and the policy of a forged domain be kept out of sight by an expensive SPF record.
const maxLookups = 500

// Resolver asks DNS for one message: every question once, however many parts of the check want to know, and for absolute names only.
// It is safe for concurrent use.
//
// An error of its look-ups is a *net.DNSError; IsNotFound means that there is no such record, and that the answer is final. Any other
// error is temporary, save one that wraps ErrTooManyLookups.
type Resolver struct {
	dns *net.Resolver

	mu    sync.Mutex
	asked map[question]*answer
	count int
}

type question struct{ kind, name string }

type answer struct {
	done      chan struct{} // closed when the rest is there
	texts     []string
	exchanges []*net.MX
	addresses []net.IPAddr
	ips       []netip.Addr
	names     []string
	err       error
	abandoned bool        // who asked gave up before the answer came
	noName    atomic.Bool // the server said NXDOMAIN
}

// New makes a resolver for one message, which asks the DNS server at addr, "host:port"; "" means those of the system.
func New(addr string) *Resolver {
	return newResolver(func(ctx context.Context, network, system string) (net.Conn, error) {
		var dialer net.Dialer
		if addr != "" {
			system = addr
		}
		return dialer.DialContext(ctx, network, system)
	})
}

func newResolver(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *Resolver {
	listening := func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return listen(ctx, conn), nil
	}
	return &Resolver{dns: &net.Resolver{PreferGo: true, Dial: listening}, asked: map[question]*answer{}}
}

// Count is how many different questions were asked.
func (r *Resolver) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// LookupTXT gives the TXT records of a name, the strings of each joined.
func (r *Resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a := r.ask(ctx, "TXT", name, func(ctx context.Context, name string, a *answer) {
		a.texts, a.err = r.dns.LookupTXT(ctx, name)
	})
	return a.texts, a.err
}

// LookupMX gives the MX records of a name. There can be some beside an error, if others are malformed.
func (r *Resolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a := r.ask(ctx, "MX", name, func(ctx context.Context, name string, a *answer) {
		a.exchanges, a.err = r.dns.LookupMX(ctx, name)
	})
	return a.exchanges, a.err
}

// LookupIPAddr gives the A and AAAA records of a name.
func (r *Resolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	a := r.ask(ctx, "A", host, func(ctx context.Context, name string, a *answer) {
		a.addresses, a.err = r.dns.LookupIPAddr(ctx, name)
	})
	return a.addresses, a.err
}

// LookupNetIP gives the A records of a name if network is ip4, its AAAA records if it is ip6.
func (r *Resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	a := r.ask(ctx, network, host, func(ctx context.Context, name string, a *answer) {
		a.ips, a.err = r.dns.LookupNetIP(ctx, network, name)
		var unsuitable *net.AddrError
		if errors.As(a.err, &unsuitable) { // all are of the other family, as /etc/hosts or a mapped address in an AAAA record can have it
			a.err = &net.DNSError{Err: unsuitable.Err, Name: name, IsNotFound: true}
		}
	})
	return a.ips, a.err
}

// LookupAddr gives the names of an address.
func (r *Resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	a := r.ask(ctx, "PTR", addr, func(ctx context.Context, name string, a *answer) {
		a.names, a.err = r.dns.LookupAddr(ctx, addr)
	})
	return a.names, a.err
}

// Exists tells whether a domain exists as DMARC means it: a query for it is not answered with NXDOMAIN (RFC 9989 section 3.2.13). It
// asks for the TXT records, which SPF mostly wants as well.
func (r *Resolver) Exists(ctx context.Context, name string) (bool, error) {
	a := r.ask(ctx, "TXT", name, func(ctx context.Context, name string, a *answer) {
		a.texts, a.err = r.dns.LookupTXT(ctx, name)
	})
	if a.err == nil || isNotFound(a.err) {
		return !a.noName.Load(), nil
	}
	return false, a.err
}

// isNotFound tells a final "there is none" from "could not find out".
func isNotFound(err error) bool {
	var failure *net.DNSError
	return errors.As(err, &failure) && failure.IsNotFound
}

// ask answers from memory, waits for one who asks the same already, or asks.
func (r *Resolver) ask(ctx context.Context, kind, name string, look func(context.Context, string, *answer)) *answer {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == "" {
		return &answer{err: &net.DNSError{Err: "no name to ask for", IsNotFound: true}}
	}
	q := question{kind, name}
	for {
		a, mine := r.begin(q)
		if mine {
			look(context.WithValue(ctx, answerKey{}, a), name+".", a)
			r.end(ctx, q, a)
			return a
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			select {
			case <-a.done: // what is known stays known after the deadline
			default:
				return &answer{err: temporary(name, ctx.Err())}
			}
		}
		if !a.abandoned || ctx.Err() != nil {
			return a
		}
	}
}

// begin finds the answer to a question, or makes room for it; then it is for the caller to ask, and to call end.
func (r *Resolver) begin(q question) (a *answer, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.asked[q]; a != nil {
		return a, false
	}
	a = &answer{done: make(chan struct{})}
	if r.count >= maxLookups {
		a.err = &net.DNSError{Err: ErrTooManyLookups.Error(), UnwrapErr: ErrTooManyLookups, Name: q.name}
		close(a.done)
		return a, false
	}
	r.count++
	r.asked[q] = a
	return a, true
}

func (r *Resolver) end(ctx context.Context, q question, a *answer) {
	if a.err != nil && !isNotFound(a.err) {
		a.err = temporary(q.name, a.err)
		a.abandoned = ctx.Err() != nil
	}
	if a.abandoned { // one with more time may ask again
		r.mu.Lock()
		delete(r.asked, q)
		r.mu.Unlock()
	}
	close(a.done)
}

// temporary makes an error say that it is: RFC 7208 section 2.6.6 counts every rcode but 0 and 3 as transient, Go only some.
func temporary(name string, err error) *net.DNSError {
	failure := net.DNSError{Err: err.Error(), UnwrapErr: err, Name: name, IsTimeout: errors.Is(err, context.DeadlineExceeded)}
	var cause *net.DNSError
	if errors.As(err, &cause) {
		failure = *cause
	}
	failure.IsTemporary = true
	return &failure
}

// answerKey is how a connection knows for which answer it was opened.
type answerKey struct{}

// listen has NXDOMAIN noted, which Go's resolver does not tell from a name without such records.
func listen(ctx context.Context, conn net.Conn) net.Conn {
	a, ok := ctx.Value(answerKey{}).(*answer)
	if !ok {
		return conn
	}
	if packets, ok := conn.(*net.UDPConn); ok {
		return &packetListener{UDPConn: packets, answer: a}
	}
	return &streamListener{Conn: conn, answer: a}
}

// hear notes the code of a reply (RFC 1035 section 4.1.1), if it is one to the question: an id, and the bit that says reply.
func (a *answer) hear(id [2]byte, reply []byte) {
	if len(reply) >= 4 && [2]byte(reply) == id && reply[2]&0x80 != 0 && reply[3]&0x0f == 3 {
		a.noName.Store(true)
	}
}

// packetListener embeds the UDP connection, because Go's resolver asks whether it is a net.PacketConn.
type packetListener struct {
	*net.UDPConn
	answer *answer
	id     [2]byte
}

func (l *packetListener) Write(query []byte) (int, error) {
	if len(query) >= 2 {
		l.id = [2]byte(query)
	}
	return l.UDPConn.Write(query)
}

func (l *packetListener) Read(p []byte) (int, error) {
	n, err := l.UDPConn.Read(p)
	l.answer.hear(l.id, p[:n])
	return n, err
}

// streamListener strips the two octets of length (RFC 1035 section 4.2.2). Go's resolver opens a connection for each question.
type streamListener struct {
	net.Conn
	answer *answer
	id     [2]byte
	head   []byte
}

func (l *streamListener) Write(query []byte) (int, error) {
	if len(query) >= 4 {
		l.id = [2]byte(query[2:])
	}
	return l.Conn.Write(query)
}

func (l *streamListener) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if missing := 6 - len(l.head); missing > 0 {
		l.head = append(l.head, p[:min(n, missing)]...)
		if len(l.head) == 6 {
			l.answer.hear(l.id, l.head[2:])
		}
	}
	return n, err
}
