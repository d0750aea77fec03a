package setup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"postmend/postfix"
	"postmend/postfix/layout"
	"postmend/postfix/postconf"
)

// addLMTP puts lmtp(8) in the place of pipe(8): it hands messages to a resident process, or to one that
// spawn(8) starts for each connection.
func (p *Plan) addLMTP() {
	filter := layout.LMTPStatusFilter()
	if !p.config.Version.AtLeast(3, 7) {
		filter = p.table(layout.LMTPStatusFile, layout.LMTPStatusPattern,
			"a table, which Postfix before 3.7 does not support within a parameter")
	}
	p.setService(layout.FilterID, layout.LMTPLine(filter),
		"lmtp(8) hands messages to postmend, tells it the client, and changes no line")
	if p.wanted.LMTP == layout.SpawnedLMTP {
		p.setService(layout.SpawnedLMTPID, p.program().SpawnedLMTPLine(),
			"spawn(8) starts postmend for each connection of lmtp(8)")
		p.set(layout.SpawnedTimeLimit.Name, layout.SpawnedTimeLimit.Value,
			"longer than lmtp(8) uses a connection")
	}
	p.set(layout.LMTPRecipients.Name, layout.LMTPRecipients.Value,
		"the recipients of a message share a run, and each gets a reply of its own")
	p.unset(layout.TimeLimit.Name, "only pipe(8) has this limit")
}

// nextHop is the value of content_filter or default_transport.
func (p *Plan) nextHop() string {
	switch {
	case p.wanted.LMTP != "":
		return layout.LMTPNextHop(p.wanted.LMTP)
	case p.wanted.Mode == Transport:
		return layout.DefaultTransport
	}
	return layout.ContentFilter
}

// LMTPAddress is where a Postfix hands messages to postmend by LMTP; "" if pipe(8) starts postmend, or
// nothing does.
func LMTPAddress(c *postconf.Config) (string, error) {
	service, found := c.Service(layout.FilterID)
	if !found || service.Program != "lmtp" {
		return "", nil
	}
	for _, name := range []string{"default_transport", "content_filter"} {
		if address, found := strings.CutPrefix(c.Get(name), layout.DefaultTransport); found {
			if _, _, err := parseLMTP(c, address); err != nil {
				return "", fmt.Errorf("%s is %s, and %s in master.cf is an lmtp(8) service: %w", name,
					c.Get(name), layout.FilterID, err)
			}
			return address, nil
		}
	}
	return "", fmt.Errorf("%s in master.cf is an lmtp(8) service, but neither content_filter nor "+
		"default_transport leads to it: use --lmtp with the address of postmend serve, or --lmtp spawn; or "+
		"remove the service, and pipe(8) starts postmend", layout.FilterID)
}

// parseLMTP takes an address apart. Only this host may be named, because whoever answers gets all mail.
func parseLMTP(c *postconf.Config, text string) (network, address string, err error) {
	if path, _ := strings.CutPrefix(layout.SpawnedLMTP, "unix:"); text == layout.SpawnedLMTP {
		return "unix", filepath.Join(c.Get("queue_directory"), path), nil
	}
	network, address, err = postfix.ParseAddress(text)
	if err != nil || network == "unix" {
		return network, address, err
	}
	host, _, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", "", fmt.Errorf("%s is not on loopback, as inet:127.0.0.1:10025 is", text)
	}
	return network, address, nil
}

// otherNextHop finds what leads mail to postmend, but not to the wanted address: lmtp(8) would connect to
// another one.
func (p *Plan) otherNextHop(ctx context.Context) error {
	if p.wanted.LMTP == "" {
		return nil
	}
	for _, other := range OtherNextHops(ctx, p.config, p.nextHop()) {
		return fmt.Errorf("%s, which lmtp(8) would take for the host to connect to; change it to %s, or "+
			"remove it", other, p.nextHop())
	}
	return nil
}

// AskLMTP tells why Postfix could not hand messages to postmend at an address; nil if it could. Root
// connects with the rights of Postfix's account.
func AskLMTP(ctx context.Context, c *postconf.Config, text string) error {
	network, address, err := parseLMTP(c, text)
	if err != nil {
		return err
	}
	conn, err := dialAs(ctx, c.Get("mail_owner"), network, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	talk := &conversation{ctx: ctx, conn: conn, replies: bufio.NewReader(conn)}
	if greeting := talk.reply(); greeting.class() != 2 {
		return fmt.Errorf("it greets with %s", greeting)
	}
	reply := talk.command("LHLO localhost")
	if reply.class() != 2 {
		return fmt.Errorf("it answers LHLO with %s", reply)
	}
	talk.command("QUIT")
	if !strings.Contains(reply.Keywords, " XFORWARD ") {
		return errors.New("what answers there is not postmend: it offers no XFORWARD")
	}
	return nil
}

// dialAs connects with the rights that an account has to a socket's file.
func dialAs(ctx context.Context, account, network, address string) (net.Conn, error) {
	if network != "unix" || os.Geteuid() != 0 {
		return (&net.Dialer{Timeout: replyPatience}).DialContext(ctx, network, address)
	}
	owner, err := user.Lookup(account)
	if err != nil {
		return nil, err
	}
	uid, uidErr := strconv.Atoi(owner.Uid)
	gid, gidErr := strconv.Atoi(owner.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, err
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		// The rights are the thread's, which ends with this goroutine because it stays locked.
		runtime.LockOSThread()
		err := errors.Join(unix.Setfsgid(gid), unix.Setfsuid(uid))
		if err != nil {
			done <- result{nil, err}
			return
		}
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: address, Net: "unix"})
		if err != nil {
			done <- result{nil, fmt.Errorf("as %s: %w", account, err)}
			return
		}
		done <- result{conn, nil}
	}()
	r := <-done
	return r.conn, r.err
}

// askServe is the proof before the change that postmend serve takes mail.
func (s *Setup) askServe(ctx context.Context) error {
	address := s.plan.wanted.LMTP
	if address == "" || address == layout.SpawnedLMTP {
		return nil
	}
	if err := AskLMTP(ctx, s.config, address); err != nil {
		return fmt.Errorf("postmend serve does not take mail at %s: %w. Start it first%s; then run this "+
			"again. Postfix has not been changed", address, err, s.howToServe())
	}
	return nil
}

// howToServe tells how postmend serve is started.
func (s *Setup) howToServe() string {
	w := s.plan.wanted
	if w.LMTP == layout.UnitLMTP && w.ConfigFile == "" {
		sockets := "postmend-lmtp.socket"
		if strings.Contains(s.config.Get("smtpd_milters"), layout.UnitMilter) {
			sockets = "postmend.socket " + sockets
		}
		return ", with the units of the Debian package: systemctl stop postmend.socket postmend.service && " +
			"systemctl enable --now " + sockets + " postmend.service"
	}
	command := postconf.Command{w.Program, "serve", "--lmtp", w.LMTP}
	if w.ConfigFile != "" {
		command = append(command, "-c", w.ConfigFile)
	}
	return fmt.Sprintf(", as %s: %s. The Debian package has a unit of systemd and its socket, %s", w.User,
		command, layout.UnitLMTP)
}

// askSpawned is the proof after the change that spawn(8) starts a postmend that takes mail.
func (s *Setup) askSpawned(ctx context.Context) error {
	if s.plan.wanted.LMTP != layout.SpawnedLMTP || !s.config.IsRunning() {
		return nil
	}
	if err := AskLMTP(ctx, s.config, layout.SpawnedLMTP); err != nil {
		return fmt.Errorf("the postmend that spawn(8) starts takes no mail at %s: %w", layout.SpawnedLMTP,
			err)
	}
	return nil
}
