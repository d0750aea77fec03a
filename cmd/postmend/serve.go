package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"postmend/filter"
	"postmend/postfix"
	"postmend/postfix/milter"
)

func (inv *invocation) serveCommand() *cobra.Command {
	var milterAddress, lmtpAddress string
	var trustsORCPT bool
	cmd := &cobra.Command{
		Use:   "serve [--milter ADDRESS] [--lmtp ADDRESS]",
		Short: "Stay resident on a busy server: judge mail at SMTP time, filter mail by LMTP",
		Long: `Does what postmend milter and postmend filter do, in one process for all messages. ADDRESS
is inet:HOST:PORT, for LMTP on loopback, or unix:PATH. A socket that systemd has opened at that address is
used.

By LMTP, all recipients of a message share one run, and each gets a reply of its own. XFORWARD is
required: lmtp_send_xforward_command = yes.

SIGHUP, or a change of a file, reads the configuration, keys and secrets again; if the configuration is
not valid, the old one stays in use. On SIGTERM, it finishes the messages that are under way, and ends. It
runs as the account of the filter, without privileges.`,
		Example: `  postmend serve --milter inet:127.0.0.1:10028 --lmtp inet:127.0.0.1:10025
  postmend serve --milter unix:/var/spool/postfix/postmend/milter`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if milterAddress == "" && lmtpAddress == "" {
				return usageError{errors.New("serve needs --milter ADDRESS or --lmtp ADDRESS")}
			}
			r := &resident{configFile: inv.configFile, log: syslog{socket: filter.DefaultLogSocket},
				trustsORCPT: trustsORCPT}
			if isTerminal(inv.stderr) {
				r.log.also = inv.stderr
			}
			if milterAddress != "" {
				r.add("--milter", milterAddress, r.milter)
			}
			if lmtpAddress != "" {
				if !isOnHost(lmtpAddress) {
					return usageError{errors.New("--lmtp: anybody who reaches it can send mail: use " +
						"unix:PATH or a loopback address")}
				}
				r.add("--lmtp", lmtpAddress, r.lmtp)
			}
			return r.run()
		},
	}
	cmd.Flags().StringVar(&milterAddress, "milter", "", "where to serve milter conversations")
	cmd.Flags().StringVar(&lmtpAddress, "lmtp", "",
		"where to serve LMTP, as content_filter or default_transport")
	cmd.Flags().BoolVar(&trustsORCPT, "trust-orcpt", false, "take the alias from ORCPT; only where "+
		"smtpd(8) accepts no ORCPT from clients (smtpd_discard_ehlo_keywords = dsn)")
	return cmd
}

// isOnHost tells whether only processes of this host reach an address.
func isOnHost(text string) bool {
	network, address, err := postfix.ParseAddress(text)
	if err != nil || network == "unix" {
		return true // listen reports an address that is not valid
	}
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// resident is the process that serves.
type resident struct {
	configFile string
	log        syslog
	use        atomic.Pointer[loaded]
	doors      []residentDoor
	watch      watch
	// trustsORCPT says that no client can have made up the original recipient that LMTP tells.
	trustsORCPT bool
}

// residentDoor is one address, and what is spoken there. Serve serves until its context ends, closes the
// listener, and comes back when the messages that are under way are dealt with.
type residentDoor struct {
	flag, address string
	serve         func(context.Context, net.Listener) error
}

func (r *resident) add(flag, address string, serve func(context.Context, net.Listener) error) {
	r.doors = append(r.doors, residentDoor{flag, address, serve})
}

// milter serves milter conversations.
func (r *resident) milter(ctx context.Context, listener net.Listener) error {
	d := &door{log: r.log, current: func() (*loaded, error) { return r.current(), nil }}
	return (&milter.Server{Judge: d.judge, Ended: d.ended}).Serve(ctx, listener)
}

// lastWords is how long messages that are under way may take after SIGTERM.
const lastWords = time.Minute

// run serves until SIGTERM or SIGINT.
func (r *resident) run() error {
	if err := r.load(); err != nil {
		return err
	}
	listeners, err := r.listen()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	confineForGood(r.use.Load().filter)

	ended := make(chan error, len(listeners))
	for i, listener := range listeners {
		go func() { ended <- r.doors[i].serve(ctx, listener) }()
	}
	notify("READY=1")
	for {
		select {
		case <-reload:
			r.reload()
		case err := <-ended: // before it was told to
			stop()
			return errors.Join(err, r.wait(ended, len(listeners)-1))
		case <-ctx.Done():
			notify("STOPPING=1")
			return r.wait(ended, len(listeners))
		}
	}
}

// wait waits for the doors to close.
func (r *resident) wait(ended <-chan error, doors int) (err error) {
	late := time.After(lastWords)
	for range doors {
		select {
		case e := <-ended:
			err = errors.Join(err, e)
		case <-late:
			return errors.Join(err, errors.New("serve: messages were still under way when the time was over"))
		}
	}
	return err
}

// load reads the configuration.
func (r *resident) load() error {
	next, err := r.loadResident()
	if err != nil {
		return err
	}
	if old := r.use.Swap(next); old != nil {
		old.filter.Close()
	}
	return nil
}

// reload is load while we serve: a configuration that is not valid changes nothing.
func (r *resident) reload() {
	notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic()))
	defer notify("READY=1")
	if err := r.load(); err != nil {
		r.log.write(severityError, "NOQUEUE: the configuration was not read again: "+err.Error())
		return
	}
	r.log.write(severityInfo, "NOQUEUE: the configuration was read again")
}

// confineForGood confines a resident process. main sets it, as restrain.
var confineForGood = func(*filter.Filter) {}
