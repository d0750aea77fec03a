// Package dnsserver serves a zone of made-up names on loopback, for tests and for the demonstration, as
// net/http/httptest does for HTTP.
//
// It answers as an authoritative server does, over UDP and TCP (RFC 1035, RFC 6891 for the size of
// datagrams). It knows no zone cuts, no wildcards and no DNSSEC, and sends no SOA record with a negative
// answer.
package dnsserver

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// Server is a DNS server over UDP and TCP on one port of 127.0.0.1. Names without a record do not exist;
// names with records of another type, or with names below them, exist and have none.
type Server struct {
	udp     net.PacketConn
	tcp     net.Listener
	serving sync.WaitGroup

	mu      sync.Mutex
	zone    zone
	queries []string
	conns   map[net.Conn]bool // nil once the server is closed
}

// Start starts a server with a zone, one record a line:
//
//	name TYPE value      A, AAAA, MX ("10 host"), TXT (the rest of the line, of any length), CNAME, PTR, NS
//	name SERVFAIL        every question for the name fails
//	name DROP            no question for the name is answered
//
// Names are absolute, with or without final dot; lines that start with # do not count. The error names the
// line that is wrong.
func Start(zoneText string) (*Server, error) {
	s := &Server{zone: zone{}, conns: map[net.Conn]bool{}}
	if err := s.zone.parse(zoneText); err != nil {
		return nil, err
	}
	if err := s.listen(); err != nil {
		return nil, err
	}
	s.serving.Go(s.serveUDP)
	s.serving.Go(s.serveTCP)
	return s, nil
}

// listen finds a port that is free for both protocols; one that is free for UDP can be taken for TCP.
func (s *Server) listen() error {
	var failed error
	for range 10 {
		var err error
		if s.udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			return err
		}
		if s.tcp, err = net.Listen("tcp", s.udp.LocalAddr().String()); err == nil {
			return nil
		}
		failed = errors.Join(err, s.udp.Close())
	}
	return failed
}

// Addr is the server's "host:port".
func (s *Server) Addr() string { return s.udp.LocalAddr().String() }

// Close stops the server and waits until nothing of it runs any more.
func (s *Server) Close() error {
	err := errors.Join(s.udp.Close(), s.tcp.Close())
	s.mu.Lock()
	for conn := range s.conns {
		conn.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.serving.Wait()
	return err
}

// Resolver asks this server alone.
func (s *Server) Resolver() *net.Resolver {
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, network, s.Addr())
	}
	return &net.Resolver{PreferGo: true, Dial: dial}
}

// Queries are the questions so far in their order, as "name. TYPE", the name in lower case.
func (s *Server) Queries() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queries)
}

// Add adds lines to the zone. Those before a line that is wrong count.
func (s *Server) Add(zoneText string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.zone.parse(zoneText)
}

func (s *Server) serveUDP() {
	question := make([]byte, 64<<10)
	for {
		n, from, err := s.udp.ReadFrom(question)
		if err != nil {
			return
		}
		if answer := s.answer(question[:n], "udp"); answer != nil {
			s.udp.WriteTo(answer, from)
		}
	}
}

func (s *Server) serveTCP() {
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.conns == nil {
			conn.Close()
		} else {
			s.conns[conn] = true
			s.serving.Go(func() { s.serveConn(conn) })
		}
		s.mu.Unlock()
	}
}

// serveConn answers the questions of a connection (RFC 1035 section 4.2.2).
func (s *Server) serveConn(conn net.Conn) {
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	for {
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, question); err != nil {
			return
		}
		if answer := s.answer(question, "tcp"); answer != nil {
			conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
		}
	}
}

// answer gives nil where there is to be none.
func (s *Server) answer(packed []byte, network string) []byte {
	var question dnsmessage.Message
	if err := question.Unpack(packed); err != nil || question.Response || len(question.Questions) != 1 {
		return nil
	}
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{ID: question.ID, Response: true, Authoritative: true,
			RecursionDesired: question.RecursionDesired, RecursionAvailable: true},
		Questions: question.Questions,
	}
	size, hasEDNS := announcedSize(&question)
	if hasEDNS {
		var opt dnsmessage.ResourceHeader
		opt.SetEDNS0(maxDatagram, dnsmessage.RCodeSuccess, false)
		reply.Additionals = []dnsmessage.Resource{{Header: opt, Body: &dnsmessage.OPTResource{}}}
	}
	if !s.resolve(&reply) {
		return nil
	}
	if network == "tcp" {
		size = 1<<16 - 1
	}
	return pack(&reply, size)
}

// maxDatagram is what we accept and send over UDP, in octets: what fits everywhere unfragmented.
const maxDatagram = 1232

// announcedSize is the size of datagrams that the client takes (RFC 6891 section 6.2.3): 512 octets if it
// does not tell.
func announcedSize(question *dnsmessage.Message) (size int, hasEDNS bool) {
	for _, r := range question.Additionals {
		if r.Header.Type == dnsmessage.TypeOPT {
			return min(max(int(r.Header.Class), 512), maxDatagram), true
		}
	}
	return 512, false
}

// pack turns a reply that does not fit into one that says so (RFC 2181 section 9).
func pack(reply *dnsmessage.Message, size int) []byte {
	packed, err := reply.Pack()
	if err == nil && len(packed) <= size {
		return packed
	}
	reply.Truncated, reply.Answers = true, nil
	if packed, err = reply.Pack(); err != nil {
		return nil
	}
	return packed
}

// resolve fills in the answer to the reply's question. It is false where no answer is to be sent.
func (s *Server) resolve(reply *dnsmessage.Message) bool {
	q := reply.Questions[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries = append(s.queries, absolute(q.Name.String())+" "+strings.TrimPrefix(q.Type.String(), "Type"))

	owner := q.Name
	for range 8 { // links of a chain of CNAMEs
		n := s.zone[absolute(owner.String())]
		switch {
		case n == nil:
			reply.RCode = dnsmessage.RCodeNameError
		case n.behaviour == "DROP":
			return false
		case n.behaviour == "SERVFAIL":
			reply.RCode = dnsmessage.RCodeServerFailure
		default:
			if alias := n.answer(reply, owner, q.Type); alias != nil {
				owner = alias.CNAME
				continue
			}
		}
		break
	}
	return true
}

// answer adds the records of the type, or else the alias, which it gives back.
func (n *node) answer(
	reply *dnsmessage.Message, owner dnsmessage.Name, kind dnsmessage.Type,
) *dnsmessage.CNAMEResource {
	for _, body := range n.records {
		alias, isAlias := body.(*dnsmessage.CNAMEResource)
		if typeOf(body) != kind && !isAlias {
			continue
		}
		header := dnsmessage.ResourceHeader{Name: owner, Class: dnsmessage.ClassINET, TTL: 60}
		reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: header, Body: body})
		if isAlias && kind != dnsmessage.TypeCNAME {
			return alias
		}
	}
	return nil
}
