// Package serve has the servers: for one connection that spawn(8) gives, Milter and Table; for many, by the
// milter protocol and LMTP, Resident. filter judges and mends; here are connections, files that change, and
// what the protocols make of an outcome.
package serve

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"postmend/cmd/postmend/outcome"
	"postmend/cmd/postmend/syslog"
	"postmend/filter"
	"postmend/postfix"
)

// Options are what every server needs.
type Options struct {
	ConfigFile string
	// Log is used until a configuration has been read, which names the socket.
	Log syslog.Log
	Now func() time.Time
	// Confine gives up the permissions that are not needed once the configuration has been read.
	Confine func(*filter.Filter)
}

// Resident is the process that serves many messages.
type Resident struct {
	Options
	// Milter and LMTP are the addresses, in the form of postfix.ParseAddress; "" is none.
	Milter, LMTP string
	// TrustsORCPT says that no client can have made up the original recipient that LMTP tells.
	TrustsORCPT bool

	use   atomic.Pointer[loaded]
	watch watch
}

// service is one address, and what is spoken there. serve serves until its context ends, closes the
// listener, and comes back when the messages that are under way are dealt with.
type service struct {
	flag, address string
	serve         func(context.Context, net.Listener) error
}

// services are those that have an address.
func (r *Resident) services() (services []service, err error) {
	if r.Milter != "" {
		services = append(services, service{"--milter", r.Milter, r.milter})
	}
	if r.LMTP != "" {
		if !isOnHost(r.LMTP) {
			return nil, outcome.Misused(errors.New("--lmtp: anybody who reaches it can send mail: use " +
				"unix:PATH or a loopback address"))
		}
		services = append(services, service{"--lmtp", r.LMTP, r.lmtp})
	}
	if services == nil {
		return nil, outcome.Misused(errors.New("serve needs --milter ADDRESS or --lmtp ADDRESS"))
	}
	return services, nil
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

// lastWords is how long messages that are under way may take after SIGTERM.
const lastWords = time.Minute

// Run serves until SIGTERM or SIGINT, and reads the configuration again on SIGHUP.
func (r *Resident) Run() error {
	services, err := r.services()
	if err != nil {
		return err
	}
	if err := r.load(); err != nil {
		return err
	}
	listeners, err := listen(services)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	r.Confine(r.use.Load().filter)

	ended := make(chan error, len(listeners))
	for i, listener := range listeners {
		go func() { ended <- services[i].serve(ctx, listener) }()
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

// wait waits for the services to end.
func (r *Resident) wait(ended <-chan error, services int) (err error) {
	late := time.After(lastWords)
	for range services {
		select {
		case e := <-ended:
			err = errors.Join(err, e)
		case <-late:
			return errors.Join(err, errors.New("serve: messages were still under way when the time was over"))
		}
	}
	return err
}
