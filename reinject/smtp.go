package reinject

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"syscall"
)

// smtpTarget is a server to speak SMTP with.
type smtpTarget struct {
	network    string // tcp, unix
	address    string // for net.Dial
	host       string // for the certificate
	encryption encryption
	user       string
	password   func() (string, error)
	rootCAs    func() (*x509.CertPool, error) // nil: the system's
	helo       string
	pool       *pool // nil: no connection is kept
}

func (t *smtpTarget) send(
	ctx context.Context, client Client, commit Commit, txs []checked,
) ([]Result, error) {
	var sessions []*session
	defer func() {
		for _, s := range sessions {
			t.pool.put(s)
		}
	}()
	for i := range txs {
		s, err := t.begin(ctx, client, &txs[i])
		if s != nil {
			sessions = append(sessions, s)
		}
		if err != nil {
			return nil, err
		}
		// The end of a single message is sent with its dot. With several, everything but the dots must have
		// succeeded first.
		if len(txs) > 1 {
			if err := s.out.Flush(); err != nil {
				return nil, s.interrupted(stageContent, err)
			}
		}
	}
	for _, s := range sessions {
		if err := s.stillListening(); err != nil {
			return nil, err
		}
	}
	ctx, err := commit()
	if err != nil {
		return nil, err
	}
	for _, s := range sessions {
		if err := s.goOnUnder(ctx); err != nil {
			return nil, err
		}
	}
	err = endAll(sessions)
	results := make([]Result, len(sessions))
	for i, s := range sessions {
		results[i] = s.result
	}
	return results, err
}

// prepare brings a transaction to its final dot.
func (s *session) prepare(client Client, tx *checked) error {
	envelope, warnings, err := tx.envelope(s.offered, withinHost(s.dialled.RemoteAddr()))
	if err != nil {
		return err
	}
	s.result.Warnings = append(s.result.Warnings, warnings...)
	commands := append(client.xforward(s.offered), envelope...)
	data := command{stage: stageDATA, line: "DATA"}
	// With one recipient, DATA is pipelined: if the recipient is refused, so is DATA, or we close. With
	// several, DATA waits for all replies, because a server that accepted only some would already read the
	// message.
	if len(tx.recipients) == 1 {
		err = s.run(append(commands, data))
	} else if err = s.run(commands); err == nil {
		err = s.run([]command{data})
	}
	if err != nil {
		return err
	}
	return s.sendContent(tx)
}

// sendContent sends the message without its final dot. Its end, as much as fits into the buffer, is sent with
// the dot.
func (s *session) sendContent(tx *checked) error {
	w := &dataWriter{out: s.out}
	_, err := tx.Content.WriteTo(w)
	if connErr := w.finish(); connErr != nil {
		return s.interrupted(stageContent, connErr)
	}
	if err != nil {
		return &Error{Stage: stageContent, Err: err}
	}
	return nil
}

// interrupted is why a server closed the connection while we were writing: it may have said so before (RFC
// 5321 section 3.8).
func (s *session) interrupted(stage string, err error) *Error {
	if r, readErr := readReply(s.in); readErr == nil && r.code >= 400 {
		return r.refusal(stage)
	}
	return s.failure(stage, err)
}

var errSpokeEarly = errors.New("the server replied before the message was complete")

// stillListening tells whether the server has sent nothing more. If it sent 421 or closed the connection
// while other transactions were prepared, no dot must be sent anywhere; and an unexpected reply would be
// read as the one to the dot.
//
// Under TLS, octets that arrive need not be a reply, so only decrypted ones count.
func (s *session) stillListening() error {
	if s.in.Buffered() == 0 && (s.conn != s.dialled || !readable(s.dialled)) {
		return nil
	}
	r, err := readReply(s.in)
	switch {
	case err != nil:
		return s.failure(stageContent, err)
	case r.code >= 400:
		return r.refusal(stageContent)
	}
	return &Error{Stage: stageContent, Err: errSpokeEarly}
}

// readable tells whether reading would return at once: octets, end of file, or an error.
func readable(conn net.Conn) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	waiting := false
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		waiting = err == syscall.EAGAIN || err == syscall.EINTR
		return true
	})
	return err != nil || !waiting
}

// taken is the only reply to a final dot that makes the server responsible for the message (RFC 5321 section
// 4.3.2). If a server does not reply to the dot, the next reply is the one to QUIT: 221.
const taken = 250

// endAll sends the final dots back to back, and then waits for the replies. If a dot cannot be sent, it
// sends no more, because each further message would arrive twice.
func endAll(sessions []*session) error {
	var failed *Error
	sent := 0
	for _, s := range sessions {
		s.out.WriteString(".\r\n")
		if s.target.pool == nil {
			s.partWithDot()
		}
		if err := s.out.Flush(); err != nil {
			failed = s.interrupted(stageEndOfData, err)
			break
		}
		sent++
	}
	for _, s := range sessions[:sent] {
		r, err := readReply(s.in)
		s.mute = err != nil
		var trouble *Error
		switch {
		case err != nil:
			trouble = s.failure(stageEndOfData, err)
		case r.code == taken:
			s.result.QueueID, s.reusable = r.queueID(), !s.parted
			continue
		default:
			trouble = r.refusal(stageEndOfData)
		}
		// A temporary error is preferred: the message is kept.
		if failed == nil || trouble.Temporary() && !failed.Temporary() {
			failed = trouble
		}
	}
	if failed == nil {
		return nil // not a nil *Error, which would be an error
	}
	return failed
}
