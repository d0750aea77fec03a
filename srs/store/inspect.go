package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"postmend/srs"
)

// Health is what can be found out about a store without changing it.
type Health struct {
	// Err is why the store cannot be used, or not be judged.
	Err error
	// Closed is why it takes no entries; nil if it does.
	Closed error
	// Unusable is a folder in the store that its owner cannot use, as a backup may leave it; "" if there is
	// none.
	Unusable string
	// Expired are days whose entries should have been removed.
	Expired int
	// Foreign is the number of entries, of Looked that were looked at, that no host with our secrets has
	// made.
	Foreign, Looked int

	// The rest is about Valkey and Redis.
	Replica  bool          // takes no entries
	Volatile bool          // keeps nothing over a restart
	Evicts   string        // the policy by which it removes entries when memory is short; "" if it does not
	ClockOff time.Duration // of its clock from ours, as far as it can be told
	Hidden   error         // why persistence and eviction cannot be judged
}

// maxLooked is how many entries Inspect looks at.
const maxLooked = 500

var errEnough = errors.New("enough")

// Inspect looks at a store. r tells which entries hosts with our secrets have made.
func Inspect(ctx context.Context, o Options, r *srs.Rewriter) (h Health) {
	opened, err := Open(o)
	if err != nil {
		return Health{Err: err}
	}
	err = opened.List(ctx, func(e Entry) error {
		if e.Err != nil {
			return nil // found when it is asked for
		}
		h.Looked++
		if r != nil && !r.HasMade(e.Key, e.Sender) {
			h.Foreign++
		}
		if h.Looked == maxLooked {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		h.Err = err
		var answered errServer
		if !errors.As(err, &answered) { // it is there, but forbids SCAN
			return h
		}
		h.Err, h.Hidden = nil, err
	}
	switch s := opened.(type) {
	case *files:
		s.inspect(&h)
	case *server:
		s.inspect(ctx, &h)
	}
	return h
}

func (s *files) inspect(h *Health) {
	root, err := s.open()
	if err != nil {
		h.Err = err
		return
	}
	defer root.Close()
	days, err := root.names(".")
	if err != nil {
		h.Err = err
		return
	}
	for _, date := range days {
		day, ok := parseDay(date)
		if !ok {
			continue
		}
		if s.life.expired(day) {
			h.Expired++
		}
		shards, _ := root.names(date)
		for _, name := range append(shards, "") {
			if name = path.Join(date, name); h.Unusable == "" && !root.isUsable(name) {
				h.Unusable = name
			}
		}
	}
	if dir, err := os.Open(s.dir); err == nil {
		defer dir.Close()
		h.Closed = checkSpace(dir)
	}
}

// isUsable tells whether the owner of the store can use a folder in it.
func (f *folder) isUsable(name string) bool {
	info, err := f.Lstat(name)
	return ignoreMissing(err) == nil &&
		(err != nil || info.IsDir() && ownerOf(info) == f.owner && info.Mode().Perm()&0o700 == 0o700)
}

func (s *server) inspect(ctx context.Context, h *Health) {
	replies, err := s.ask(ctx, []string{"GET", keyPrefix})
	if err != nil {
		h.Err = err
		return
	}
	if replies[0].null { // with XX, it is not set
		_, h.Closed = s.ask(ctx, []string{"SET", keyPrefix, "", "XX", "EX", "1"})
	}
	s.inspectClock(ctx, h)
	s.inspectKeeping(ctx, h)
}

func (s *server) inspectClock(ctx context.Context, h *Health) {
	replies, err := s.ask(ctx, []string{"TIME"})
	if err == nil && len(replies[0].list) > 0 {
		if seconds, err := strconv.ParseInt(replies[0].list[0].text, 10, 64); err == nil {
			h.ClockOff = time.Unix(seconds, 0).Sub(s.life.now()).Truncate(time.Second)
		}
	}
}

// inspectKeeping finds out whether entries stay.
func (s *server) inspectKeeping(ctx context.Context, h *Health) {
	replies, err := s.ask(ctx, []string{"INFO"})
	if err != nil {
		h.Hidden = err
		return
	}
	info := func(name string) string {
		for line := range strings.SplitSeq(replies[0].text, "\r\n") {
			if value, found := strings.CutPrefix(line, name+":"); found {
				return value
			}
		}
		return ""
	}
	h.Replica = info("role") == "slave" || info("role") == "replica"
	if policy := info("maxmemory_policy"); policy != "noeviction" && info("maxmemory") != "0" {
		h.Evicts = policy
	}
	if info("aof_enabled") == "1" {
		return
	}
	replies, err = s.ask(ctx, []string{"CONFIG", "GET", "save"})
	switch {
	case err != nil:
		h.Hidden = err
	case len(replies[0].list) != 2:
		h.Hidden = fmt.Errorf("%s: %w", s.at.Address, errProtocol)
	default:
		h.Volatile = replies[0].list[1].text == ""
	}
}
