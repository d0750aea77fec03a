package milter

import (
	"context"
	"net"
	"sync"

	"postmend/postfix"
)

// Server holds conversations side by side.
type Server struct {
	Judge Judge
	// Ended, if not nil, is told why a conversation ended early.
	Ended func(error)
}

// mostConversations is how many there are at a time; more wait until one ends. Postfix has one for each SMTP
// session (default_process_limit, 100 by default).
const mostConversations = 1000

// Serve serves the connections of a listener until ctx ends, and closes it. Messages that are under way are
// judged to their end; other conversations end at once.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop() // if the listener fails, too
	free := make(chan struct{}, mostConversations)
	return postfix.Accept(ctx, listener, func(conn net.Conn) {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			defer conn.Close()
			if err := Serve(ctx, conn, s.Judge); err != nil && s.Ended != nil {
				s.Ended(err)
			}
		})
	})
}
