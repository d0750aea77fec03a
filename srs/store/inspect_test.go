package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postmend/srs"
	"postmend/tests/peer"
)

func inspect(t *testing.T, redis *peer.Redis) Health {
	t.Helper()
	return Inspect(t.Context(), Options{URL: "redis+unix://" + redis.Socket, Timeout: 10 * time.Second}, nil)
}

// wantState wants that Inspect finds a server as it is, in words of the server.
func wantState(t *testing.T, got, want Health) {
	t.Helper()
	for name, pair := range map[string][2]error{
		"Err": {got.Err, want.Err}, "Closed": {got.Closed, want.Closed},
	} {
		if is, should := pair[0], pair[1]; (is == nil) != (should == nil) ||
			should != nil && !strings.Contains(is.Error(), should.Error()) {
			t.Errorf("%s: %v, want %v", name, is, should)
		}
	}
	if got.Replica != want.Replica || got.Volatile != want.Volatile || got.Evicts != want.Evicts {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestTheStateOfRedisIsFoundAndNotChanged(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want Health
	}{
		"as it should be": {},
		"wants a login":   {[]string{"--requirepass", "x"}, Health{Err: errors.New("NOAUTH")}},
		"a replica": {[]string{"--replicaof", "127.0.0.1", "1"},
			Health{Closed: errors.New("READONLY"), Replica: true}},
		"a replica that gives nothing until it has its primary's data": {[]string{"--replicaof", "127.0.0.1",
			"1", "--replica-serve-stale-data", "no"}, Health{Err: errors.New("MASTERDOWN")}},
		"full": {[]string{"--maxmemory", "1"}, Health{Closed: errors.New("OOM")}},
		"evicts": {[]string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"},
			Health{Evicts: "allkeys-lru"}},
		"forgets": {[]string{"--appendonly", "no"}, Health{Volatile: true}},
		"takes no writes from this user": {[]string{"--user", "default", "on", "nopass", "~*", "+@read",
			"+info", "+config|get", "+time"}, Health{Closed: errors.New("NOPERM")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := peer.StartRedis(t, tc.args...)
			wantState(t, inspect(t, redis), tc.want)
			if tc.want.Err == nil {
				if found := list(t, at(t, "redis+unix://"+redis.Socket, morning)); len(found) != 0 {
					t.Errorf("Inspect has left %v", found)
				}
			}
		})
	}
}

// Redis removes what it likes when its memory is short. What is gone is unknown, never something else.
func TestAnEntryThatRedisHasEvictedIsUnknown(t *testing.T) {
	redis := peer.StartRedis(t, "--maxmemory-policy", "allkeys-lru")
	s := at(t, "redis+unix://"+redis.Socket, morning)
	for n := range 500 {
		put(t, s, srs.Key{Day: key.Day, Token: token(n)}, sender)
	}
	ask := func(words ...string) string {
		replies, err := s.(*server).ask(t.Context(), words)
		if err != nil {
			t.Fatal(err)
		}
		return replies[0].text
	}
	_, used, _ := strings.Cut(ask("INFO", "memory"), "used_memory:")
	used, _, _ = strings.Cut(used, "\r\n")
	ask("CONFIG", "SET", "maxmemory", used)
	for n, gone := 500, 0; gone == 0; n++ {
		if n == 5000 {
			t.Fatal("nothing is evicted")
		}
		put(t, s, srs.Key{Day: key.Day, Token: token(n)}, sender)
		for older := 0; n%50 == 0 && older < 500; older += 10 {
			got, err := s.Get(t.Context(), srs.Key{Day: key.Day, Token: token(older)})
			if errors.Is(err, srs.ErrUnknown) {
				gone++
			} else if err != nil || got != sender {
				t.Fatalf("%q, %v", got, err)
			}
		}
	}
	if h := inspect(t, redis); h.Evicts != "allkeys-lru" {
		t.Errorf("%+v", h)
	}
}

// While Redis reads its file, it answers that it is loading.
func TestRedisThatIsLoadingIsTrouble(t *testing.T) {
	redis := peer.StartRedis(t, "--appendonly", "no")
	s := at(t, "redis+unix://"+redis.Socket, time.Now())
	today := time.Now().Unix() / 86400
	for n := range 2000 {
		put(t, s, srs.Key{Day: today, Token: token(n)}, sender)
	}
	if _, err := s.(*server).ask(t.Context(), []string{"SAVE"}); err != nil {
		t.Fatal(err)
	}
	redis.Kill()
	redis.StartSlowly(20 * time.Millisecond)
	first := srs.Key{Day: today, Token: token(0)}
	_, err := s.Get(t.Context(), first)
	if err == nil || errors.Is(err, srs.ErrUnknown) || !strings.Contains(err.Error(), "LOADING") {
		t.Errorf("Get: %v", err)
	}
	if err := s.Put(t.Context(), first, sender); err == nil || !strings.Contains(err.Error(), "LOADING") {
		t.Errorf("Put: %v", err)
	}
	wantState(t, inspect(t, redis), Health{Err: errors.New("LOADING")})
}

// A list ends, whatever a server says.
func TestAListWithoutEndIsEnded(t *testing.T) {
	t.Run("the same again", func(t *testing.T) {
		s := answering(t, replying("*2\r\n$1\r\n7\r\n*0\r\n"))
		if err := s.List(t.Context(), func(Entry) error { return nil }); !errors.Is(err, errProtocol) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("always more", func(t *testing.T) {
		var n atomic.Int64
		s := answering(t, func(conn net.Conn) {
			replying(fmt.Sprintf("*2\r\n:%d\r\n*0\r\n", n.Add(1)))(conn)
		}).(*server)
		none := func(Entry) error { return nil }
		if err := s.list(t.Context(), 50, none); err == nil || n.Load() > 50 {
			t.Errorf("got %v after %d answers", err, n.Load())
		}
	})
	t.Run("until the time is over", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var n atomic.Int64
		s := answering(t, func(conn net.Conn) {
			now := n.Add(1)
			if now == 20 {
				cancel()
			}
			replying(fmt.Sprintf("*2\r\n:%d\r\n*0\r\n", now))(conn)
		})
		if err := s.List(ctx, func(Entry) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
