package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"postmend/filter"
	"postmend/postfix/milter"
)

func (inv *invocation) serveCommand() *cobra.Command {
	var milterAddress string
	cmd := &cobra.Command{
		Use:   "serve --milter ADDRESS",
		Short: "Stay resident, and judge mail at SMTP time for a busy server",
		Long: `Does what postmend milter does, in one process for all conversations. ADDRESS is inet:HOST:PORT or unix:PATH. A socket
that systemd has opened at that address is used.

SIGHUP reads the configuration again; if it is not valid, the old one stays in use. SIGTERM ends the process behind the
messages that are under way. It runs as the account of the filter, without privileges.`,
		Example: `  postmend serve --milter inet:127.0.0.1:10028
  postmend serve --milter unix:/var/spool/postfix/postmend/milter`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if milterAddress == "" {
				return usageError{errors.New("serve needs --milter ADDRESS")}
			}
			r := &resident{configFile: inv.configFile, log: syslog{socket: filter.DefaultLogSocket}}
			if isTerminal(inv.stderr) {
				r.log.also = inv.stderr
			}
			r.add("--milter", milterAddress, r.milter)
			return r.run()
		},
	}
	cmd.Flags().StringVar(&milterAddress, "milter", "", "where to serve milter conversations")
	return cmd
}

// resident is the process that serves.
type resident struct {
	configFile string
	log        syslog
	use        atomic.Pointer[loaded]
	doors      []residentDoor
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
	d := &door{log: r.log, current: func() (*loaded, error) { return r.use.Load(), nil }}
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
	next, err := load(r.configFile)
	if err != nil {
		return err
	}
	r.use.Store(next)
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
