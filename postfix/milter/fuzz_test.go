package milter

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// script is a connection that says what it has, and keeps what it is told.
type script struct {
	io.Reader
	out bytes.Buffer
}

func (s *script) Write(b []byte) (int, error)      { return s.out.Write(b) }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// FuzzServe: whatever an MTA says, the conversation ends, what it answers is well-formed packets, and no
// message is answered more than once.
func FuzzServe(f *testing.F) {
	envelope := slices.Concat(packetOf('C', z("x"), []byte("4"), []byte{0, 1}, z("192.0.2.1")),
		packetOf('H', z("x")), packetOf('M', z("<a@b>")), packetOf('R', z("<c@d>")),
		packetOf('D', []byte("T"), z("i", "ID")), packetOf('T'))
	message := slices.Concat(packetOf('L', z("From", " a\n b")), packetOf('N'),
		packetOf('B', []byte("x\r\n")), packetOf('E'))
	f.Add(slices.Concat(envelope, message, packetOf('A'), envelope, message, packetOf('Q')))
	f.Add(slices.Concat(envelope, message[:20], packetOf('K'), envelope, packetOf('E', []byte("x"))))
	f.Add(slices.Concat(packetOf('E'), packetOf('D', []byte("C"), z("a")), u32(0)))
	f.Fuzz(func(t *testing.T, said []byte) {
		for _, greeting := range [][]byte{nil, hello, packetOf('O', u32(2), u32(0x1f), u32(0x7f))} {
			conn := &script{Reader: bytes.NewReader(slices.Concat(greeting, said))}
			whole := 0
			Serve(context.Background(),
				conn, func(_ context.Context, env *Envelope, content io.Reader) Verdict {
					if _, err := io.Copy(io.Discard, content); err == nil {
						whole++
					}
					env.Macro("i")
					return Verdict{Reply: "550 x"}
				})
			replies := 0
			for out := conn.out.Bytes(); len(out) > 0; {
				if len(out) < 5 {
					t.Fatalf("half a packet: %q", out)
				}
				n := int(out[0])<<24 | int(out[1])<<16 | int(out[2])<<8 | int(out[3])
				if n < 1 || n+4 > len(out) {
					t.Fatalf("a broken packet: %q", out)
				}
				switch out[4] {
				case 'y':
					replies++
				case 'c', 'O':
				default:
					t.Fatalf("answer %q", out[4])
				}
				out = out[n+4:]
			}
			if replies != whole {
				t.Fatalf("%d whole messages, %d verdicts", whole, replies)
			}
		}
	})
}
