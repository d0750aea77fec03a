package filter

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postmend/dkim"
	"postmend/filter/config"
	"postmend/filter/message"
	"postmend/filter/message/author"
	"postmend/filter/plan"
)

const benchConfig = `hostname = "mx.example.org"
local_domains = ["example.org"]
[srs]
domain = "srs.example.org"
secrets_file = "secrets"
[[dkim.keys]]
domain = "example.org"
selector = "bench"
file = "key.pem"
[reinject]
target = "stdout:"
`

var benchLine = "All work and no play makes Jack a dull boy, and this line is as long as lines are.\n"

func benchMessage(size int) []byte {
	return []byte("From: Alice <alice@example.org>\nTo: alias@example.org\nSubject: bench\n" +
		"Date: Mon, 2 Nov 2026 10:00:00 +0000\nMessage-ID: <1@sender.example>\n\n" +
		strings.Repeat(benchLine, size/len(benchLine)))
}

func benchFolder(b *testing.B) (configFile string) {
	dir := b.TempDir()
	key, err := dkim.GenerateKey("rsa2048")
	for name, text := range map[string][]byte{"postmend.toml": []byte(benchConfig),
		"secrets": []byte("s3cr3t\n"), "key.pem": key} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	return filepath.Join(dir, "postmend.toml")
}

func BenchmarkConfiguration(b *testing.B) {
	file := benchFolder(b)
	b.ReportAllocs()
	for b.Loop() {
		settings, err := config.Load(file)
		if err == nil {
			_, err = New(settings, Options{})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRun is what a run does between the first line of its configuration and the hand-over: SRS and
// one RSA signature, no DNS.
func BenchmarkRun(b *testing.B) {
	file, message := benchFolder(b), benchMessage(10_000)
	env := &plan.Envelope{Sender: "alice@sender.example",
		Recipients:   []plan.Recipient{{Address: "bob@example.com"}},
		SASLUsername: "alice"}
	b.ReportAllocs()
	for b.Loop() {
		settings, err := config.Load(file)
		var f *Filter
		if err == nil {
			f, err = New(settings, Options{Stdout: io.Discard})
		}
		if err == nil {
			_, err = f.Run(context.Background(), env, bytes.NewReader(message))
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSpool(b *testing.B) {
	for name, size := range map[string]int{"10kB": 10_000, "50MB": 50_000_000} {
		text := benchMessage(size)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				m, err := message.Read(bytes.NewReader(text), message.Options{Dir: b.TempDir()})
				if err != nil {
					b.Fatal(err)
				}
				m.Close()
			}
		})
	}
}

func BenchmarkAuthorDomains(b *testing.B) {
	header, _ := dkim.SplitHeader(benchMessage(0))
	b.ReportAllocs()
	for b.Loop() {
		author.Find(header, nil).Domains()
	}
}

func BenchmarkRewriteFrom(b *testing.B) {
	header, _ := dkim.SplitHeader(benchMessage(0))
	b.ReportAllocs()
	for b.Loop() {
		_, err := author.Rewrite(header, author.NewAuthor{Address: "alias@example.org"}, false)
		if err != nil {
			b.Fatal(err)
		}
	}
}
