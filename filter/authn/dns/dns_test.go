package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"postmend/filter/authn/dnsserver"
	"postmend/tests/listen"
)

func serve(t *testing.T, zone string) string {
	t.Helper()
	s, err := dnsserver.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.Addr()
}

func ofServers(servers ...string) *Client {
	return &Client{servers: servers, timeout: time.Minute, attempts: 1}
}

// find writes records as a zone would have them, or what kind of error there is.
func find(t *testing.T, c *Client, name string, kind dnsmessage.Type) string {
	t.Helper()
	records, err := c.Lookup(t.Context(), name, kind)
	var words []string
	for _, record := range records {
		switch body := record.(type) {
		case *dnsmessage.AResource:
			words = append(words, netip.AddrFrom4(body.A).String())
		case *dnsmessage.AAAAResource:
			words = append(words, netip.AddrFrom16(body.AAAA).String())
		case *dnsmessage.TXTResource:
			words = append(words, strings.Join(body.TXT, "|"))
		case *dnsmessage.MXResource:
			words = append(words, fmt.Sprint(body.Pref, " ", body.MX))
		case *dnsmessage.PTRResource:
			words = append(words, body.PTR.String())
		case *dnsmessage.CNAMEResource:
			words = append(words, body.CNAME.String())
		}
	}
	var failed *net.DNSError
	switch {
	case err == nil && len(records) == 0:
		t.Errorf("%s: no records, and no error", name)
	case err == nil:
		return strings.Join(words, ", ")
	case !errors.As(err, &failed) || failed.IsNotFound == failed.IsTemporary || len(records) > 0:
		t.Errorf("%s: %#v, %v", name, err, records)
	case errors.Is(err, ErrNoSuchName):
		return "no name"
	case failed.IsNotFound:
		return "no record"
	}
	return "trouble"
}

func TestRecordsAreFound(t *testing.T) {
	long := strings.Repeat("x", 3000)
	c := New(serve(t, "example.org A 192.0.2.1\nexample.org A 192.0.2.2\nexample.org AAAA 2001:db8::1\n"+
		"example.org MX 10 mx.example.org\nexample.org TXT v=spf1 -all\n_x.example.org TXT y\n"+
		"long.example.org TXT "+long+
		"\n1.2.0.192.in-addr.arpa PTR mx.example.org\n"+
		"www.example.org CNAME web.example.org\nweb.example.org CNAME example.org\n"+
		"dead.example.org CNAME gone.example.org\nround.example CNAME about.example\n"+
		"about.example CNAME round.example\nnomail.example MX 0 .\nbroken.example SERVFAIL"))
	for _, w := range []struct {
		name string
		kind dnsmessage.Type
		want string
	}{
		{"example.org", dnsmessage.TypeA, "192.0.2.1, 192.0.2.2"},
		{"EXAMPLE.org", dnsmessage.TypeAAAA, "2001:db8::1"},
		{"example.org", dnsmessage.TypeMX, "10 mx.example.org."},
		{"nomail.example", dnsmessage.TypeMX, "0 ."},
		{"example.org", dnsmessage.TypeTXT, "v=spf1 -all"},
		{"_x.example.org", dnsmessage.TypeTXT, "y"},
		{"1.2.0.192.in-addr.arpa", dnsmessage.TypePTR, "mx.example.org."},
		{"www.example.org", dnsmessage.TypeA, "192.0.2.1, 192.0.2.2"},
		{"www.example.org", dnsmessage.TypeCNAME, "web.example.org."},
		{"www.example.org", dnsmessage.TypePTR, "no record"},
		{"example.org", dnsmessage.TypePTR, "no record"},
		{"dead.example.org", dnsmessage.TypeA, "no name"},
		{"gone.example.org", dnsmessage.TypeA, "no name"},
		{"round.example", dnsmessage.TypeA, "trouble"},
		{"broken.example", dnsmessage.TypeA, "trouble"},
		{"hidden.onion", dnsmessage.TypeA, "no name"},
	} {
		if got := find(t, c, w.name, w.kind); got != w.want {
			t.Errorf("%s %s: %s, want %s", w.name, w.kind, got, w.want)
		}
	}
	if got := find(t, c, "long.example.org", dnsmessage.TypeTXT); strings.ReplaceAll(got, "|", "") != long {
		t.Errorf("a record that needs TCP: %.100s", got)
	}
	c.overTCP = true
	if got := find(t, c, "gone.example.org", dnsmessage.TypeTXT) +
		find(t, c, "example.org", dnsmessage.TypeTXT); got != "no name"+"v=spf1 -all" {
		t.Errorf("over TCP: %s", got)
	}
}

func TestNamesWithoutAFormAreNotAsked(t *testing.T) {
	c := ofServers("127.0.0.1:1") // where nobody listens
	for _, name := range []string{"", ".", "a..b", "a.", ".a", strings.Repeat("a.", 127) + "a",
		strings.Repeat("a", 64) + ".org", "\x00..x"} {
		if got := find(t, c, name, dnsmessage.TypeTXT); got != "no record" {
			t.Errorf("%.80q: %s", name, got)
		}
	}
	if got := find(t, c, "a.onion", dnsmessage.TypeTXT); got != "no name" {
		t.Errorf("RFC 7686: %s", got)
	}
}

// script is a server that answers each query with datagrams made from it, and what is asked over TCP with
// the last of them.
func script(t *testing.T, replies func(query dnsmessage.Message) [][]byte) string {
	t.Helper()
	udp, tcp := bindBoth(t)
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, from, err := udp.ReadFrom(buffer)
			if err != nil {
				return
			}
			var query dnsmessage.Message
			if query.Unpack(buffer[:n]) == nil {
				for _, reply := range replies(query) {
					udp.WriteTo(reply, from)
				}
			}
		}
	}()
	listen.On(t, tcp, func(conn net.Conn) {
		length := make([]byte, 2)
		io.ReadFull(conn, length)
		packed := make([]byte, binary.BigEndian.Uint16(length))
		io.ReadFull(conn, packed)
		var query dnsmessage.Message
		if query.Unpack(packed) == nil {
			if all := replies(query); len(all) > 0 {
				last := all[len(all)-1]
				conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(last))), last...))
			}
		}
	})
	return udp.LocalAddr().String()
}

// bindBoth finds a port that is free for both protocols.
func bindBoth(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 10 {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { udp.Close() })
		if tcp, err := net.Listen("tcp", udp.LocalAddr().String()); err == nil {
			t.Cleanup(func() { tcp.Close() })
			return udp, tcp
		}
	}
	t.Fatal("no port is free")
	return nil, nil
}

// answer makes a reply to a query, with a text, after changes.
func answer(query dnsmessage.Message, text string, change func(*dnsmessage.Message)) []byte {
	q := query.Questions[0]
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: query.ID, Response: true, RecursionAvailable: true},
		Questions: query.Questions}
	if text != "" {
		reply.Answers = []dnsmessage.Resource{
			{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class},
				Body: &dnsmessage.TXTResource{TXT: []string{text}}}}
	}
	if change != nil {
		change(&reply)
	}
	packed, err := reply.Pack()
	if err != nil {
		panic(err)
	}
	return packed
}

// RFC 5452 section 9.1. A client that took one of these for the reply would find another text, or none.
func TestWhatIsNoReplyToTheQuestionIsPassedOver(t *testing.T) {
	for why, forge := range map[string]func(*dnsmessage.Message){
		"another id": func(m *dnsmessage.Message) { m.ID++ },
		"a query":    func(m *dnsmessage.Message) { m.Response = false },
		"another name": func(m *dnsmessage.Message) {
			m.Questions = asked("other.example.", dnsmessage.TypeTXT)
		},
		"another type": func(m *dnsmessage.Message) { m.Questions = asked("example.org.", dnsmessage.TypeA) },
		"another class": func(m *dnsmessage.Message) {
			m.Questions = []dnsmessage.Question{
				{Name: m.Questions[0].Name, Type: dnsmessage.TypeTXT, Class: 3}}
		},
		"no question": func(m *dnsmessage.Message) { m.Questions = nil },
		"two questions": func(m *dnsmessage.Message) {
			m.Questions = append(slices.Clone(m.Questions), m.Questions...)
		},
		"a status request": func(m *dnsmessage.Message) { m.OpCode = 2 },
	} {
		server := script(t, func(query dnsmessage.Message) [][]byte {
			return [][]byte{answer(query, "forged", forge), answer(query, "true", nil)}
		})
		if got := find(t, ofServers(server), "example.org", dnsmessage.TypeTXT); got != "true" {
			t.Errorf("%s: %s", why, got)
		}
	}
	for _, garbage := range []string{"", "x", strings.Repeat("\xff", 600), strings.Repeat("\x00", 12)} {
		server := script(t, func(query dnsmessage.Message) [][]byte {
			return [][]byte{[]byte(garbage), answer(query, "true", nil)}
		})
		if got := find(t, ofServers(server), "example.org", dnsmessage.TypeTXT); got != "true" {
			t.Errorf("%.10q: %s", garbage, got)
		}
	}
}

func asked(name string, kind dnsmessage.Type) []dnsmessage.Question {
	return []dnsmessage.Question{
		{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}
}

// Whoever can answer at all can say anything of the name that was asked for, but a record of another name
// says nothing of it.
func TestOnlyRecordsOfTheNameCount(t *testing.T) {
	record := func(name string, body dnsmessage.ResourceBody) dnsmessage.Resource {
		return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name),
			Class: dnsmessage.ClassINET}, Body: body}
	}
	text := func(s string) dnsmessage.ResourceBody { return &dnsmessage.TXTResource{TXT: []string{s}} }
	alias := func(name string) dnsmessage.ResourceBody {
		return &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(name)}
	}
	for _, c := range []struct {
		why     string
		answers []dnsmessage.Resource
		want    string
	}{
		{"another name", []dnsmessage.Resource{record("other.example.", text("x"))}, "no record"},
		{"case does not matter", []dnsmessage.Resource{record("EXAMPLE.Org.", text("x"))}, "x"},
		{"an alias", []dnsmessage.Resource{record("example.org.", alias("a.example.")),
			record("A.example.", text("x"))}, "x"},
		{"an alias, the other way round",
			[]dnsmessage.Resource{record("b.example.", text("x")), record("a.example.", alias("b.example.")),
				record("example.org.", alias("a.example."))}, "x"},
		{"an alias, and a record of another name",
			[]dnsmessage.Resource{record("example.org.", alias("a.example.")),
				record("b.example.", text("x"))}, "no record"},
		{"an alias, and a record beside it",
			[]dnsmessage.Resource{record("example.org.", alias("a.example.")),
				record("example.org.", text("x"))}, "no record"},
		{"an alias of itself", []dnsmessage.Resource{record("example.org.", alias("example.org.")),
			record("example.org.", text("x"))}, "x"},
		{"several strings", []dnsmessage.Resource{
			record("example.org.", &dnsmessage.TXTResource{TXT: []string{"a", "", "b\x00\xff"}})},
			"a||b\x00\xff"},
	} {
		server := script(t, func(query dnsmessage.Message) [][]byte {
			return [][]byte{answer(query, "", func(m *dnsmessage.Message) { m.Answers = c.answers })}
		})
		if got := find(t, ofServers(server), "example.org", dnsmessage.TypeTXT); got != c.want {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
	}
}

func TestNamesOfHostsArePrintable(t *testing.T) {
	c := New(serve(t, "example.org MX 10 a\x1b[2J.example\nexample.org MX 20 b.example\n"+
		"example.org MX 30 \xff.example\n1.2.0.192.in-addr.arpa PTR a\x07.example"))
	if got := find(t, c, "example.org", dnsmessage.TypeMX); got != "20 b.example." {
		t.Errorf("MX: %q", got)
	}
	if got := find(t, c, "1.2.0.192.in-addr.arpa", dnsmessage.TypePTR); got != "no record" {
		t.Errorf("PTR: %q", got)
	}
	// The same, and a name with a dot in a label, byte by byte.
	server := script(t, func(query dnsmessage.Message) [][]byte {
		packed := answer(query, "", nil)
		packed[7] = 2
		for _, host := range []string{"\x03a.b\x00", "\x01c\x00"} {
			packed = append(packed, "\xc0\x0c\x00\x0f\x00\x01\x00\x00\x00\x3c\x00"...)
			packed = append(append(packed, byte(2+len(host)), 0, 10), host...)
		}
		return [][]byte{packed}
	})
	if got := find(t, ofServers(server), "example.org", dnsmessage.TypeMX); got != "10 c." {
		t.Errorf("a dot in a label: %q", got)
	}
}

func TestADatagramThatIsTooLongIsAskedForOverTCP(t *testing.T) {
	long := strings.Repeat("x", 250)
	server := script(t, func(query dnsmessage.Message) [][]byte {
		return [][]byte{answer(query, long, func(m *dnsmessage.Message) {
			m.Answers[0].Body = &dnsmessage.TXTResource{TXT: slices.Repeat([]string{long}, 8)}
		})}
	})
	if got := find(t, ofServers(server), "example.org", dnsmessage.TypeTXT); len(got) != 8*len(long)+7 {
		t.Errorf("%.100s", got)
	}
}

// A reply that cannot be an answer is no answer, so the next server is asked; and if there is none, it is
// not known.
func TestAnotherServerIsAskedWhereOneHasNoAnswer(t *testing.T) {
	good := serve(t, "example.org TXT good")
	for why, change := range map[string]func(*dnsmessage.Message){
		"SERVFAIL":               func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeServerFailure },
		"REFUSED":                func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeRefused },
		"FORMERR":                func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeFormatError },
		"BADVERS":                func(m *dnsmessage.Message) { m.Additionals = withOPT(1 << 4) },
		"lame":                   func(m *dnsmessage.Message) { m.RecursionAvailable = false },
		"truncated over TCP too": func(m *dnsmessage.Message) { m.Truncated = true },
	} {
		bad := script(t, func(query dnsmessage.Message) [][]byte {
			return [][]byte{answer(query, "", change)}
		})
		if got := find(t, ofServers(bad), "example.org", dnsmessage.TypeTXT); got != "trouble" {
			t.Errorf("%s alone: %s", why, got)
		}
		if got := find(t, ofServers(bad, good), "example.org", dnsmessage.TypeTXT); got != "good" {
			t.Errorf("%s: %s", why, got)
		}
	}
	cut := script(t, func(query dnsmessage.Message) [][]byte {
		whole := answer(query, strings.Repeat("x", 200), nil)
		return [][]byte{whole[:len(whole)-100]}
	})
	for why, server := range map[string]string{"cut off": cut, "nobody listens": "127.0.0.1:1"} {
		if got := find(t, ofServers(server), "example.org", dnsmessage.TypeTXT); got != "trouble" {
			t.Errorf("%s alone: %s", why, got)
		}
		if got := find(t, ofServers(server, good), "example.org", dnsmessage.TypeTXT); got != "good" {
			t.Errorf("%s: %s", why, got)
		}
	}
	if got := find(t, ofServers(serve(t, ""), good), "example.org", dnsmessage.TypeTXT); got != "no name" {
		t.Errorf("NXDOMAIN is final, and the next server was asked: %s", got)
	}
}

// withOPT has the upper bits of the response code.
func withOPT(code dnsmessage.RCode) []dnsmessage.Resource {
	var header dnsmessage.ResourceHeader
	if err := header.SetEDNS0(1232, code, false); err != nil {
		panic(err)
	}
	return []dnsmessage.Resource{{Header: header, Body: &dnsmessage.OPTResource{}}}
}

func TestASilentServerIsLeftAfterItsTime(t *testing.T) {
	good, silent := serve(t, "example.org TXT good"), serve(t, "example.org DROP")
	c := ofServers(silent, good)
	c.timeout, c.attempts = 20*time.Millisecond, 100 // the other one may be late, too, on a busy machine
	if got := find(t, c, "example.org", dnsmessage.TypeTXT); got != "good" {
		t.Error(got)
	}
	c = ofServers(silent)
	c.timeout, c.attempts = 20*time.Millisecond, 3
	_, err := c.Lookup(t.Context(), "example.org", dnsmessage.TypeTXT)
	if failed, ok := errors.AsType[*net.DNSError](err); !ok || !failed.IsTimeout || !failed.IsTemporary {
		t.Errorf("%v", err)
	}
}

func TestTheContextEndsTheWait(t *testing.T) {
	waiting := make(chan bool, 1)
	server := script(t, func(dnsmessage.Message) [][]byte { waiting <- true; return nil })
	ctx, end := context.WithCancel(t.Context())
	go func() { <-waiting; end() }()
	_, err := ofServers(server).Lookup(ctx, "example.org", dnsmessage.TypeTXT) // with a minute for the server
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Two octets and a port are all that a forger has to guess.
func TestIDsAndPortsDiffer(t *testing.T) {
	ids, ports := map[uint16]bool{}, map[string]bool{}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	done := make(chan bool)
	const times = 20
	go func() {
		defer close(done)
		buffer := make([]byte, 4096)
		for range times {
			n, from, err := udp.ReadFrom(buffer)
			if err != nil || n < 12 {
				return
			}
			ids[binary.BigEndian.Uint16(buffer)], ports[from.String()] = true, true
			buffer[2] |= 0x80
			udp.WriteTo(buffer[:n], from)
		}
	}()
	for range times {
		find(t, ofServers(udp.LocalAddr().String()), "example.org", dnsmessage.TypeTXT)
	}
	<-done
	if len(ids) < times/2 || len(ports) < times/2 {
		t.Errorf("%d ids and %d ports in %d queries", len(ids), len(ports), times)
	}
}
