package serve

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"time"

	"postmend/cmd/postmend/outcome"
	"postmend/cmd/postmend/syslog"
	"postmend/filter"
	"postmend/filter/config"
	"postmend/postfix"
	"postmend/srs"
)

// tableIdle is how long a connection may be silent. Postfix's own processes leave earlier (max_idle), and
// one that finds its connection closed waits for a second before it makes another.
const tableIdle = 30 * time.Minute

// Table answers from the current files of the configuration. It reads them again when they have changed,
// and before every query while they cannot be used.
type Table struct {
	Options
	Direction string // forward or reverse

	filter   *filter.Filter // nil if the files cannot be used
	seen     stamps         // of the files that it was made from
	log      syslog.Log
	reported string // the last trouble, which is logged once
}

// Converse answers on a connection until there are no more queries, the connection was idle for too long, or
// ctx ends.
func (t *Table) Converse(ctx context.Context, conn net.Conn, protocol Protocol) {
	c := patientConn{conn, ctx, tableIdle}
	unwatch := context.AfterFunc(ctx, c.hurry)
	defer unwatch()
	_ = protocol(c, conn, t.Answer)
}

// Protocol is how Postfix asks.
type Protocol func(r io.Reader, w io.Writer, table postfix.Table) error

// Answer answers one query.
func (t *Table) Answer(key string) (a postfix.Answer) {
	defer func() {
		if fault := recover(); fault != nil {
			a = t.trouble(syslog.Critical, outcome.FaultOf(fault).LogLine("NOQUEUE"))
		}
	}()
	if t.Direction == "reverse" && !srs.IsRewritten(key) {
		// Also if the files cannot be used: then most mail is not affected.
		return postfix.Answer{Text: "not an SRS address of this server"}
	}
	if err := t.refresh(); err != nil {
		return t.trouble(syslog.Error, "NOQUEUE: lookup "+t.Direction+": "+err.Error())
	}
	ask := t.filter.Reverse
	if t.Direction == "forward" {
		ask = t.filter.Forward
	}
	value, why, err := ask(key)
	switch {
	case err != nil:
		t.filter = nil // the mode of a directory may be corrected, which changes no stamp
		return t.trouble(syslog.Error, "NOQUEUE: lookup "+t.Direction+": "+err.Error())
	case value == "":
		return postfix.Answer{Text: why}
	}
	t.reported = ""
	return postfix.Answer{Found: postfix.Found, Text: value}
}

// trouble logs once why the table cannot answer. The answer has no details, because anybody on this host can
// ask.
func (t *Table) trouble(s syslog.Severity, text string) postfix.Answer {
	if text != t.reported {
		t.reported = text
		t.log.Write(s, text)
	}
	return postfix.Answer{Found: postfix.TryLater, Text: "table cannot be used, see the mail log"}
}

func (t *Table) refresh() error {
	if t.filter != nil && t.seen.hold() {
		return nil
	}
	t.filter = nil
	t.log = t.Log
	t.seen = stampsOf([]string{t.ConfigFile})
	settings, err := config.Load(t.ConfigFile)
	if err != nil {
		return err
	}
	t.log.Socket = settings.Log.Socket
	if settings.SRS.Domain == "" {
		return fmt.Errorf("%s: srs: domain is not set: there is no SRS address to look up", t.ConfigFile)
	}
	maps.Copy(t.seen, stampsOf([]string{settings.SRS.SecretsFile, settings.LocalDomainsFile}))
	t.filter, err = filter.New(settings, filter.Options{})
	return err
}

// patientConn waits for queries, for a limited time and not after SIGTERM.
type patientConn struct {
	net.Conn
	ctx  context.Context
	idle time.Duration
}

func (c patientConn) Read(p []byte) (int, error) {
	c.SetDeadline(time.Now().Add(c.idle))
	if err := c.ctx.Err(); err != nil {
		c.hurry() // again, because its deadlines may just have been replaced
		return 0, err
	}
	return c.Conn.Read(p)
}

// hurry ends the wait for a query, and leaves time for the answers that are under way.
func (c patientConn) hurry() {
	c.SetReadDeadline(time.Unix(1, 0))
	c.SetWriteDeadline(time.Now().Add(time.Second))
}
