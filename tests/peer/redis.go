package peer

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Redis is a server of Redis or Valkey of one test's own.
type Redis struct {
	Socket string // a Unix-domain socket
	Port   string // on 127.0.0.1; "0" if the arguments name another

	t      testing.TB
	dir    string
	args   []string
	server *exec.Cmd
}

// StartRedis starts a server with further arguments, such as "--requirepass", "x". It keeps what it is told
// over Stop and Start.
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis") // the path of a socket has to be short
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // other accounts ask, too
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &Redis{Socket: filepath.Join(dir, "socket"), Port: FreePort(t), t: t, dir: dir, args: args}
	r.Start()
	t.Cleanup(r.Kill)
	return r
}

// FreePort is a port of 127.0.0.1 that nobody uses now.
func FreePort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// Start starts the server, and waits until it answers.
func (r *Redis) Start() {
	r.t.Helper()
	args := append([]string{"--dir", r.dir, "--unixsocket", r.Socket, "--unixsocketperm", "777",
		"--bind", "127.0.0.1", "--port", r.Port, "--appendonly", "yes", "--appendfsync", "no", "--save", ""},
		r.args...)
	r.server = exec.Command(Need(r.t, "redis-server"), args...)
	if err := r.server.Start(); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		answer, _ := exec.CommandContext(ctx, Need(r.t, "redis-cli"), "-s", r.Socket, "PING").Output()
		if len(answer) > 0 && string(answer[:4]) != "LOAD" { // PONG, or NOAUTH
			return
		}
		if ctx.Err() != nil {
			r.t.Fatal("redis-server does not answer")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Kill ends the server as a crash does.
func (r *Redis) Kill() {
	_ = r.server.Process.Kill()
	_ = r.server.Wait()
}

// Process is the server's.
func (r *Redis) Process() *os.Process { return r.server.Process }
