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
	"slices"
	"sync"
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
	// handsNothingOver says that the process is a milter for one SMTP session, and needs no keys.
	handsNothingOver bool

	loading sync.Mutex
	use     atomic.Pointer[loaded]
	watch   watch
}

// service is one address, and what is spoken there. serve serves until its context ends, closes the
// listener, and comes back when the messages that are under way are dealt with.
type service struct {
	name, address string // of the flag, and of the socket if systemd has opened it
	serve         func(context.Context, net.Listener) error
	listener      net.Listener // nil until it is opened
}

// services are those that have an address, and without any address those whose sockets systemd passes.
func (r *Resident) services(sockets []socket) (services []service, err error) {
	all := []service{{"milter", r.Milter, r.milter, nil}, {"lmtp", r.LMTP, r.lmtp, nil}}
	for _, s := range all {
		if s.address != "" {
			services = append(services, s)
		}
	}
	if services == nil {
		for _, socket := range sockets {
			at := slices.IndexFunc(all, func(s service) bool { return s.name == socket.name })
			if at < 0 {
				return nil, outcome.Misconfigured("FileDescriptorName of a socket is neither milter nor lmtp",
					errors.New(socket.name))
			}
			s := all[at]
			s.address = socket.address()
			services = append(services, s)
		}
	}
	for _, s := range services {
		if s.name == "lmtp" && !isOnHost(s.address) {
			return nil, outcome.Misused(errors.New("--lmtp: anybody who reaches it can send mail: use " +
				"unix:PATH or a loopback address"))
		}
	}
	if services == nil {
		return nil, outcome.Misused(errors.New("serve needs --milter ADDRESS or --lmtp ADDRESS, or sockets " +
			"of systemd with these names"))
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
	sockets, err := passedSockets()
	if err != nil {
		return err
	}
	services, err := r.services(sockets)
	if err != nil {
		return err
	}
	if err := r.load(); err != nil {
		return err
	}
	if err := listen(services, sockets); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	r.Confine(r.use.Load().filter)

	ended := make(chan error, len(services))
	for _, s := range services {
		go func() { ended <- s.serve(ctx, s.listener) }()
	}
	notify("READY=1")
	for {
		select {
		case <-reload:
			r.reload()
		case err := <-ended: // before it was told to
			stop()
			return errors.Join(err, wait(ended, len(services)-1))
		case <-ctx.Done():
			notify("STOPPING=1")
			return wait(ended, len(services))
		}
	}
}

// wait waits for the services to end.
func wait(ended <-chan error, services int) (err error) {
	late := time.After(lastWords)
	for range services {
		select {
		case e := <-ended:
			err = errors.Join(err, e)
		case <-late:
			return errors.Join(err,
				errors.New("serve: stopped before all messages were finished; Postfix tries them again"))
		}
	}
	return err
}
