package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"postmend/filter"
	"postmend/postfix"
	"postmend/srs"
)

// lookupIdle is how long a connection may be silent. Postfix's own processes leave earlier (max_idle), and
// one that finds its connection closed waits for a second before it makes another.
const lookupIdle = 30 * time.Minute

func (inv *invocation) lookupCommand() *cobra.Command {
	var protocol string
	cmd := &cobra.Command{
		Use: "lookup forward|reverse",
		Short: "Serve a lookup table of SRS addresses to Postfix on standard input and output (run by " +
			"spawn(8))",
		Long: `Answers Postfix's queries to a lookup table, one after the other, until the connection is
closed.

forward answers with the SRS address of a sender. It answers "not found" for the null sender, local
senders, SRS addresses of this server, and senders that do not fit into an SRS address, unless [srs] store
is set: Postfix does not rewrite these. reverse answers with the original sender of a valid SRS address of this server, and "not
found" for anything else.

While the configuration or a secret cannot be used, the answer is "try later", and the mail log has the
reason. Changes of these files take effect with the next query.

A connection that was idle for 30 minutes is closed. spawn(8) ends each connection after its time limit
(command_time_limit, 1000s); Postfix then opens a new one and asks again.`,
		Example: `  postmap -q 'SRS0=vmyz=2W=example.net=alice@srs.example.org' tcp:127.0.0.1:10002`,
		RunE: func(_ *cobra.Command, args []string) error {
			serve := map[string]server{"tcp": postfix.ServeTCP, "socketmap": postfix.ServeSocketmap}[protocol]
			if serve == nil {
				return usageError{fmt.Errorf("--protocol %q: it must be tcp or socketmap", protocol)}
			}
			if len(args) != 1 || args[0] != "forward" && args[0] != "reverse" {
				return usageError{errors.New("lookup needs one argument: forward or reverse")}
			}
			return inv.lookup(args[0], serve)
		},
	}
	cmd.Flags().StringVar(&protocol, "protocol", "tcp", "tcp, as in tcp_table(5), or socketmap, as in "+
		"socketmap_table(5); the name of the map does not matter")
	cmd.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if isSpawned(inv.stdin, inv.stdout) {
			status := logFailure(usageError{errors.New("lookup: --help among other arguments")})
			inv.status = &status
			return
		}
		cmd.SetHelpFunc(nil)
		cmd.HelpFunc()(cmd, args)
	})
	return cmd
}

type server func(r io.Reader, w io.Writer, table postfix.Table) error

// isSpawned tells whether spawn(8) has started us: then one connection is standard input, output and error,
// and nothing but answers may be written to it.
func isSpawned(stdin io.Reader, stdout io.Writer) bool {
	file, ok := stdin.(*os.File)
	if !ok || !isSameFile(stdin, stdout) {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeSocket != 0
}

// spawned is the connection that spawn(8) gives as standard input. If it is standard error, too, that is
// silenced, because it would corrupt the protocol.
func (inv *invocation) spawned() (net.Conn, error) {
	conn, err := net.FileConn(inv.stdin.(*os.File))
	if err == nil && isSameFile(inv.stdin, os.Stderr) {
		silenceStderr()
	}
	return conn, err
}

// lookup serves a table until there are no more queries, the connection was idle for too long, or SIGTERM
// arrives.
func (inv *invocation) lookup(direction string, serve server) error {
	table := srsTable{direction: direction, configFile: inv.configFile}
	if !isSpawned(inv.stdin, inv.stdout) {
		if isTerminal(inv.stderr) {
			table.also = inv.stderr
		}
		return serve(inv.stdin, inv.stdout, table.answer)
	}
	conn, err := inv.spawned()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	unwatch := context.AfterFunc(ctx, func() {
		conn.SetReadDeadline(time.Unix(1, 0))
		conn.SetWriteDeadline(time.Now().Add(time.Second)) // for the answers that are under way
	})
	defer unwatch()
	// spawn(8) must not complain about a connection that ended, in whatever way.
	_ = serve(patientConn{conn, ctx, lookupIdle}, conn, table.answer)
	return nil
}

// silenceStderr keeps messages of the Go runtime out of the connection.
func silenceStderr() {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer null.Close()
	_ = unix.Dup3(int(null.Fd()), 2, 0)
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
		return 0, err
	}
	return c.Conn.Read(p)
}

// srsTable answers from the current files of the configuration. It reads them again when they have changed,
// and before every query while they cannot be used.
type srsTable struct {
	direction  string
	configFile string
	also       io.Writer // gets the log, too, if not nil

	filter   *filter.Filter // nil if the files cannot be used
	files    []string       // that it was made from
	seen     []fileState
	log      syslog
	reported string // the last trouble, which is logged once
}

func (t *srsTable) answer(key string) (a postfix.Answer) {
	defer func() {
		if fault := recover(); fault != nil {
			a = t.trouble(severityCritical,
				internalError{fmt.Sprint(fault), debug.Stack()}.logLine("NOQUEUE"))
		}
	}()
	if t.direction == "reverse" && !srs.IsRewritten(key) {
		// Also if the files cannot be used: then most mail is not affected.
		return postfix.Answer{Text: "not an SRS address of this server"}
	}
	if err := t.refresh(); err != nil {
		return t.trouble(severityError, "NOQUEUE: lookup "+t.direction+": "+err.Error())
	}
	ask := t.filter.Reverse
	if t.direction == "forward" {
		ask = t.filter.Forward
	}
	value, why, err := ask(key)
	switch {
	case err != nil:
		t.filter = nil // a corrected mode does not change a file's time
		return t.trouble(severityError, "NOQUEUE: lookup "+t.direction+": "+err.Error())
	case value == "":
		return postfix.Answer{Text: why}
	}
	t.reported = ""
	return postfix.Answer{Found: postfix.Found, Text: value}
}

// trouble logs once why the table cannot answer. The answer has no details, because anybody on this host can
// ask.
func (t *srsTable) trouble(s severity, text string) postfix.Answer {
	if text != t.reported {
		t.reported = text
		t.log.write(s, text)
	}
	return postfix.Answer{Found: postfix.TryLater, Text: "table cannot be used, see the mail log"}
}

func (t *srsTable) refresh() error {
	if t.filter != nil && !t.changed() {
		return nil
	}
	t.filter = nil
	t.log = syslog{socket: filter.DefaultLogSocket, also: t.also}
	t.files = []string{t.configFile}
	seen := statAll(t.files)
	config, err := filter.LoadConfig(t.configFile)
	if err != nil {
		return err
	}
	t.log.socket = config.Log.Socket
	if config.SRS.Domain == "" {
		return fmt.Errorf("%s: srs: domain is not set: there is no SRS address to look up", t.configFile)
	}
	more := []string{config.SRS.SecretsFile, config.LocalDomainsFile}
	t.files, t.seen = append(t.files, more...), append(seen, statAll(more)...)
	t.filter, err = filter.New(config, filter.Options{})
	return err
}

func (t *srsTable) changed() bool {
	for i, path := range t.files {
		if stat(path) != t.seen[i] {
			return true
		}
	}
	return false
}

// fileState changes with a file. The zero value is a missing file.
type fileState struct {
	device, inode    uint64
	size             int64
	modified, status unix.Timespec
}

func stat(path string) fileState {
	var s unix.Stat_t
	if path == "" || unix.Stat(path, &s) != nil {
		return fileState{}
	}
	return fileState{uint64(s.Dev), s.Ino, s.Size, s.Mtim, s.Ctim}
}

func statAll(paths []string) []fileState {
	states := make([]fileState, len(paths))
	for i, path := range paths {
		states[i] = stat(path)
	}
	return states
}
