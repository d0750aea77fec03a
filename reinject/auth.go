package reinject

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"
)

// maxInitialResponse keeps AUTH with its initial response within a command line (RFC 4954 section 4, RFC
// 5321 section 4.5.3.1.4).
const maxInitialResponse = 512 - len("AUTH PLAIN \r\n") // octets

// authenticate does AUTH (RFC 4954) with PLAIN (RFC 4616), or with LOGIN if the server offers nothing else.
//
// No error contains the server's text, because a server may repeat the password.
func (s *session) authenticate() error {
	if s.conn == s.dialled && !withinHost(s.conn.RemoteAddr()) {
		return &Error{Stage: stageAUTH, Err: errClearText}
	}
	password, err := s.target.password()
	if err != nil {
		return &Error{Stage: stageAUTH, Err: err}
	}
	offered := strings.Fields(s.offered["AUTH"])
	var mechanism sasl.Client
	switch {
	case slices.Contains(offered, sasl.Plain):
		mechanism = sasl.NewPlainClient("", s.target.user, password)
	case slices.Contains(offered, sasl.Login):
		mechanism = sasl.NewLoginClient(s.target.user, password)
	default:
		return &Error{Stage: stageAUTH,
			Err: fmt.Errorf("the server offers %q, but neither PLAIN nor LOGIN; some servers offer them "+
				"only after STARTTLS", printable(s.offered["AUTH"]))}
	}
	s.mute = true
	if err := discreet(s.converse(mechanism)); err != nil {
		return err
	}
	s.mute = false
	return nil
}

func (s *session) converse(mechanism sasl.Client) error {
	name, initial, err := mechanism.Start()
	if err != nil {
		return &Error{Stage: stageAUTH, Err: err}
	}
	line := "AUTH " + name
	// An initial response that is too long for the command is sent after a challenge. An empty one, "=", does
	// not occur.
	if encoded := base64.StdEncoding.EncodeToString(initial); len(encoded) <= maxInitialResponse {
		line, initial = line+" "+encoded, nil
	}
	const mostChallenges = 3 // PLAIN and LOGIN have fewer
	for range mostChallenges {
		r, err := s.ask(stageAUTH, line)
		if err != nil {
			return err
		}
		if r.code/100 == 2 {
			return nil
		}
		if r.code != 334 {
			return r.refusal(stageAUTH)
		}
		response := initial
		if initial = nil; response == nil {
			challenge, err := base64.StdEncoding.DecodeString(r.lines[0])
			if err != nil {
				return &Error{Stage: stageAUTH, Err: errors.New("the challenge is not base64")}
			}
			if response, err = mechanism.Next(challenge); err != nil {
				return &Error{Stage: stageAUTH, Err: err}
			}
		}
		line = base64.StdEncoding.EncodeToString(response)
	}
	return &Error{Stage: stageAUTH, Err: errors.New("the server asks for more than user and password")}
}

// discreet removes the server's text from an error.
func discreet(err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		e.Text = ""
		if _, ok := errors.AsType[*malformed](e.Err); ok {
			e.Err = errors.New("the server's answer is not an SMTP reply")
		}
	}
	return err
}

// withinHost tells whether the peer is on this host.
func withinHost(peer net.Addr) bool {
	switch peer := peer.(type) {
	case *net.TCPAddr:
		return peer.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}

// errClearText keeps a password off the wire.
var errClearText = errors.New("no password is sent over an unencrypted connection to another host: " +
	"use starttls=required or smtps://")
