package reinject

import (
	"context"
	"errors"
	"sync"
	"time"
)

// pool keeps connections whose message was taken, for the next one. Postfix's own client does the same for
// two seconds (smtp_connection_cache_time_limit). A nil pool keeps none.
type pool struct {
	limit time.Duration // for how long

	mu   sync.Mutex
	idle []*session // the newest last
}

// mostIdle bounds the connections that are kept: each occupies a process of the server.
const mostIdle = 20

// take gives a connection that is still good; nil if there is none.
func (p *pool) take(ctx context.Context) *session {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		last := len(p.idle) - 1
		s := p.idle[last]
		p.idle = p.idle[:last]
		// What a server says unasked is that it closes.
		if time.Since(s.idleSince) < p.limit && s.stillListening() == nil {
			s.ctx = ctx
			s.watch()
			return s
		}
		s.quit()
	}
	return nil
}

// put keeps a connection if its message was taken, and there is room; otherwise it ends it.
func (p *pool) put(s *session) {
	if p == nil || !s.reusable {
		s.quit()
		return
	}
	// From here on the message's context does not end it.
	if !s.unwatch() {
		s.quit()
		return
	}
	s.dialled.SetDeadline(time.Time{})
	s.ctx, s.unwatch = context.Background(), func() bool { return true }
	s.result, s.reusable, s.idleSince = Result{}, false, time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == mostIdle {
		p.idle[0].quit()
		p.idle = p.idle[1:]
	}
	if p.idle = append(p.idle, s); len(p.idle) == 1 {
		time.AfterFunc(p.limit, p.prune)
	}
}

// prune ends the connections that nobody needed in time.
func (p *pool) prune() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 && time.Since(p.idle[0].idleSince) >= p.limit {
		p.idle[0].quit()
		p.idle = p.idle[1:]
	}
	if len(p.idle) > 0 {
		time.AfterFunc(p.limit-time.Since(p.idle[0].idleSince), p.prune)
	}
}

// close ends all of them.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.idle {
		s.quit()
	}
	p.idle = nil
}

// begin brings a transaction to where only its final dot is missing, on a connection that was kept, or on one
// of its own: a server may close a kept one at any time, so then the transaction begins again.
func (t *smtpTarget) begin(ctx context.Context, client Client, tx *checked) (*session, error) {
	if s := t.pool.take(ctx); s != nil {
		err := s.prepare(client, tx)
		e, ok := errors.AsType[*Error](err)
		if err == nil || !ok || e.Stage == stageContent || e.Code != 0 && e.Code != 421 || ctx.Err() != nil {
			return s, err
		}
		s.mute = true
		s.quit()
	}
	s, err := t.open(ctx)
	if err != nil {
		return nil, err
	}
	return s, s.prepare(client, tx)
}
