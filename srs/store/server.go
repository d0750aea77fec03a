package store

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"postmend/srs"
)

// server keeps entries in Valkey or Redis, under keys postmend:2006-01-02:TOKEN that expire by themselves.
// Each operation has a connection of its own: the process that makes it mostly makes no other.
type server struct {
	at       Location
	user     string
	password func() (string, error)
	rootCAs  func() (*x509.CertPool, error) // nil: the system's
	timeout  time.Duration
	life     lifetime
}

const keyPrefix = "postmend:"

func serverKey(key srs.Key) string { return keyPrefix + dayName(key.Day) + ":" + key.Token }

func parseServerKey(name string) (key srs.Key, ok bool) {
	date, token, _ := strings.Cut(strings.TrimPrefix(name, keyPrefix), ":")
	day, ok := parseDay(date)
	return srs.Key{Day: day, Token: token}, ok && srs.IsToken(token)
}

// Put implements Store. It renews the life of an entry that is there.
func (s *server) Put(ctx context.Context, key srs.Key, sender string) error {
	if err := checkEntry(key, sender); err != nil {
		return err
	}
	seconds := int64(s.life.expiry(key.Day).Sub(s.life.now())/time.Second) + 1
	if seconds <= 0 {
		return fmt.Errorf("the entry %s has expired", serverKey(key))
	}
	replies, err := s.ask(ctx,
		[]string{"SET", serverKey(key), encode(key, sender), "EX", strconv.FormatInt(seconds, 10)})
	if err != nil {
		return err
	}
	if replies[0].text != "OK" {
		return fmt.Errorf("%s: %w", s.at.Address, errProtocol)
	}
	return nil
}

// Get implements Store.
func (s *server) Get(ctx context.Context, key srs.Key) (string, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	replies, err := s.ask(ctx, []string{"GET", serverKey(key)})
	switch {
	case err != nil:
		return "", err
	case replies[0].null:
		return "", fmt.Errorf("%w: %s", srs.ErrUnknown, serverKey(key))
	}
	return decode(key, replies[0].text)
}

// maxScans is how many answers to SCAN are read: enough for 100 million keys, of which most are not ours.
const maxScans = 100_000

// List implements Store.
func (s *server) List(ctx context.Context, found func(Entry) error) error {
	return s.list(ctx, maxScans, found)
}

func (s *server) list(ctx context.Context, scans int, found func(Entry) error) error {
	cursor := "0"
	for range scans {
		replies, err := s.ask(ctx, []string{"SCAN", cursor, "MATCH", keyPrefix + "*", "COUNT", "1000"})
		if err != nil {
			return err
		}
		if len(replies[0].list) != 2 {
			return fmt.Errorf("%s: %w", s.at.Address, errProtocol)
		}
		if err := s.listAll(ctx, replies[0].list[1].list, found); err != nil {
			return err
		}
		switch next := replies[0].list[0].text; next {
		case "0":
			return nil
		case cursor: // it would never end
			return fmt.Errorf("%s: %w", s.at.Address, errProtocol)
		default:
			cursor = next
		}
	}
	return fmt.Errorf("%s: the list does not end", s.at.Address)
}

// listAll lists the entries with these names. SCAN may give a name twice, or one that is gone.
func (s *server) listAll(ctx context.Context, names []reply, found func(Entry) error) error {
	get := []string{"MGET"}
	var keys []srs.Key
	for _, name := range names {
		if key, ok := parseServerKey(name.text); ok {
			keys, get = append(keys, key), append(get, name.text)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	replies, err := s.ask(ctx, get)
	if err != nil {
		return err
	}
	if len(replies[0].list) != len(keys) {
		return fmt.Errorf("%s: %w", s.at.Address, errProtocol)
	}
	for i, value := range replies[0].list {
		if value.null {
			continue
		}
		sender, err := decode(keys[i], value.text)
		if err := found(Entry{keys[i], sender, err}); err != nil {
			return err
		}
	}
	return nil
}

// Prune implements Store: the server removes what has expired.
func (s *server) Prune(context.Context) (int, error) { return 0, nil }

// ask connects, sends commands, and gives the reply to each.
func (s *server) ask(ctx context.Context, commands ...[]string) ([]reply, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	replies, err := s.converse(ctx, commands)
	if ctx.Err() != nil {
		err = ctx.Err() // of which a failed read or write is a consequence
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.at.Address, err)
	}
	return replies, nil
}

func (s *server) converse(ctx context.Context, commands [][]string) (replies []reply, failure error) {
	var first [][]string
	if s.password != nil {
		password, err := s.password()
		if err != nil {
			return nil, err
		}
		defer func() {
			// A server that is not Valkey may repeat what it does not understand.
			if failure != nil && strings.Contains(failure.Error(), password) {
				failure = errProtocol
			}
		}()
		login := []string{"AUTH", password}
		if s.user != "" {
			login = []string{"AUTH", s.user, password}
		}
		first = append(first, login)
	}
	if s.at.Database != 0 {
		first = append(first, []string{"SELECT", strconv.Itoa(s.at.Database)})
	}
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()

	// All at once: one round trip.
	out := bufio.NewWriter(conn)
	for _, command := range first {
		writeCommand(out, command...)
	}
	for _, command := range commands {
		writeCommand(out, command...)
	}
	if err := out.Flush(); err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	for range first {
		if _, err := readReply(in, 0); err != nil {
			return nil, err
		}
	}
	replies = make([]reply, len(commands))
	for i := range commands {
		if replies[i], err = readReply(in, maxLevels); err != nil {
			return nil, err
		}
	}
	return replies, nil
}

func (s *server) connect(ctx context.Context) (net.Conn, error) {
	var authorities *x509.CertPool
	if s.at.TLS && s.rootCAs != nil {
		var err error
		if authorities, err = s.rootCAs(); err != nil {
			return nil, err
		}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, s.at.Network, s.at.Address)
	if err != nil || !s.at.TLS {
		return conn, err
	}
	encrypted := tls.Client(conn, &tls.Config{ServerName: s.at.Host, RootCAs: authorities,
		MinVersion: tls.VersionTLS12})
	if err := encrypted.HandshakeContext(ctx); err != nil {
		conn.Close()
		if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok && authorities == nil {
			err = fmt.Errorf("%w: if it is your own, name it in store_ca_file", err)
		}
		return nil, err
	}
	return encrypted, nil
}
