package serve

import (
	"context"
	"io"
	"net"
	"sync"
	"time"

	"postmend/cmd/postmend/outcome"
	"postmend/filter"
	"postmend/filter/cause"
	"postmend/filter/plan"
	"postmend/postfix"
	"postmend/postfix/lmtp"
)

// lmtp serves LMTP: each message goes through the filter.
func (r *Resident) lmtp(ctx context.Context, listener net.Listener) error {
	return r.server().Serve(ctx, listener)
}

func (r *Resident) server() *lmtp.Server {
	return &lmtp.Server{Hostname: r.use.Load().config.Hostname, Handle: r.handle}
}

// LMTP holds one conversation of LMTP, for any number of messages. Files that change are read again, as in a
// Resident. When ctx ends, the conversation ends behind the message that is under way.
func LMTP(ctx context.Context, conn net.Conn, o Options, trustsORCPT bool) {
	r := &Resident{Options: o, TrustsORCPT: trustsORCPT}
	if err := r.load(); err != nil {
		defer conn.Close()
		r.Log.Write(outcome.Severity(err), "NOQUEUE: "+err.Error())
		reply := replyTo(filter.Outcome{Err: cause.AsFailure(err)})
		conn.SetDeadline(time.Now().Add(time.Second))
		io.WriteString(conn, "421 "+reply.Enhanced+" "+reply.Text+"\r\n")
		return
	}
	defer func() { r.use.Load().filter.Close() }()
	r.Confine(r.use.Load().filter)
	r.server().ServeConn(ctx, conn)
}

// handle runs the filter on one message. What filterRun does for pipe(8) with a process and a guard, is done
// here with a context: nothing waits longer than the deadline, and no message ends the process.
func (r *Resident) handle(ctx context.Context, of *lmtp.Envelope, content io.Reader) []lmtp.Reply {
	use := r.current()
	limit := time.Duration(use.config.Limits.Deadline)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	waiting := newCommits(ctx, postfix.LongestRun(limit))
	defer waiting.end()
	outcomes, lines := use.filter.RunEach(ctx, r.departing(of), content, waiting.commit)
	log := r.Log
	log.Socket = use.config.Log.Socket
	for _, line := range lines {
		log.Write(outcome.Severity(line.Err()), line.String())
	}
	replies := make([]lmtp.Reply, len(outcomes))
	for i, o := range outcomes {
		replies[i] = replyTo(o)
	}
	return replies
}

// replyTo is the reply for one recipient, by the table of what Postfix does with it.
func replyTo(o filter.Outcome) lmtp.Reply {
	if o.Err == nil {
		return lmtp.Reply{Enhanced: postfix.Delivered.Code(""), Text: postfix.Printable(o.Summary)}
	}
	text := postfix.Printable(o.Err.Status())
	return lmtp.Reply{Enhanced: outcome.Of(o.Err).Code(o.Err.Code), Text: text[:min(len(text), maxReply)]}
}

// departing is the envelope of a message that leaves, in the form in which pipe(8) tells it.
func (r *Resident) departing(of *lmtp.Envelope) *plan.Envelope {
	env := &plan.Envelope{
		Sender:          of.Sender,
		ID:              of.ID,
		Return:          of.Return,
		QueueID:         of.Client.Ident,
		ClientAddress:   plan.Known(of.Client.Address),
		ClientName:      plan.Known(of.Client.Name),
		ClientPort:      of.Client.Port,
		ClientProtocol:  of.Client.Protocol,
		HELO:            of.Client.HELO,
		LoginInReceived: true,
		UTF8:            of.UTF8,
	}
	for _, to := range of.Recipients {
		recipient := plan.Recipient{Address: to.Address, Notify: to.Notify}
		if r.TrustsORCPT {
			recipient.Original = to.Original
		} else {
			recipient.Claimed = to.Original
		}
		env.Recipients = append(env.Recipients, recipient)
	}
	return env
}

// commits give each hand-over of a message more time for its end than for what comes before.
type commits struct {
	ctx     context.Context
	limit   time.Duration
	mu      sync.Mutex
	cancels []context.CancelFunc
}

func newCommits(ctx context.Context, limit time.Duration) *commits {
	return &commits{ctx: context.WithoutCancel(ctx), limit: limit}
}

func (c *commits) commit() (context.Context, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.limit)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancels = append(c.cancels, cancel)
	return ctx, nil
}

func (c *commits) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cancel := range c.cancels {
		cancel()
	}
}
