package dns

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// maxDatagram is the longest reply over UDP, in octets: it is not fragmented anywhere (RFC 9715).
const maxDatagram = 1232

// ask asks one server: over UDP, and again over TCP if the reply does not fit (RFC 7766 section 5).
func (c *Client) ask(
	ctx context.Context, server string, q dnsmessage.Question,
) ([]dnsmessage.ResourceBody, error) {
	query, err := pack(q)
	if err != nil {
		return nil, err
	}
	for _, network := range []string{"udp", "tcp"} {
		if network == "udp" && c.overTCP {
			continue
		}
		reply, err := c.exchange(ctx, network, server, query, q)
		if err != nil {
			return nil, err
		}
		if !reply.Truncated {
			return reply.records()
		}
	}
	return nil, errTruncated
}

// pack makes a query with EDNS (RFC 6891) and an id that cannot be guessed. The first two octets are its
// length, for TCP.
func pack(q dnsmessage.Question) ([]byte, error) {
	var id [2]byte
	rand.Read(id[:])
	header := dnsmessage.Header{ID: binary.BigEndian.Uint16(id[:]), RecursionDesired: true}
	b := dnsmessage.NewBuilder(make([]byte, 2, 512), header)
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(q); err != nil {
		return nil, err
	}
	if err := b.StartAdditionals(); err != nil {
		return nil, err
	}
	var opt dnsmessage.ResourceHeader
	if err := opt.SetEDNS0(maxDatagram, dnsmessage.RCodeSuccess, false); err != nil {
		return nil, err
	}
	if err := b.OPTResource(opt, dnsmessage.OPTResource{}); err != nil {
		return nil, err
	}
	query, err := b.Finish()
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint16(query, uint16(len(query)-2))
	return query, nil
}

// exchange sends a query from a random port, and waits for the reply.
func (c *Client) exchange(
	ctx context.Context, network, server string, query []byte, q dnsmessage.Question,
) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	id := binary.BigEndian.Uint16(query[2:])
	if network == "tcp" {
		return overStream(conn, query, id, q)
	}
	return overDatagrams(conn, query[2:], id, q)
}

// overDatagrams ignores datagrams that are not a reply to the question: they may be forged, and the reply may
// follow. A reply that is longer than we announced counts as truncated.
func overDatagrams(conn net.Conn, query []byte, id uint16, q dnsmessage.Question) (*reply, error) {
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	buffer := make([]byte, maxDatagram+1)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil, err
		}
		if r, ok := parseReply(buffer[:n], id, q); ok {
			r.Truncated = r.Truncated || n > maxDatagram
			return r, nil
		}
	}
}

// overStream reads one reply, which its length precedes (RFC 1035 section 4.2.2).
func overStream(conn net.Conn, query []byte, id uint16, q dnsmessage.Question) (*reply, error) {
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	packed := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, packed); err != nil {
		return nil, err
	}
	r, ok := parseReply(packed, id, q)
	if !ok {
		return nil, errGarbled
	}
	return r, nil
}
