package tests

import (
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"postmend/tests/peer"
)

// startPostSRSd starts PostSRSd 1, the last with tcp tables, for the forwarder's domains.
func startPostSRSd(t *testing.T, secrets string) ports {
	t.Helper()
	program := peer.Need(t, "postsrsd")
	p := ports{peer.FreePort(t), peer.FreePort(t)}
	daemon := exec.Command(program, "-4", "-s"+secrets, "-d"+srsDomain, "-Xexample.org", "-f"+p.forward,
		"-r"+p.reverse)
	ended := peer.Start(t, daemon)
	for _, port := range []string{p.forward, p.reverse} {
		for conn, err := net.Dial("tcp4", "127.0.0.1:"+port); ; conn, err = net.Dial("tcp4",
			"127.0.0.1:"+port) {
			if err == nil {
				conn.Close()
				break
			}
			select {
			case <-ended:
				t.Fatal("postsrsd ended")
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	return p
}

// inItsAlphabet turns the hash of an address of ours into standard base64, which is what PostSRSd 1 writes.
func inItsAlphabet(address string) string {
	if len(address) < len("SRS0=hhhh") {
		return address
	}
	return address[:5] + strings.NewReplacer("-", "+", "_", "/").Replace(address[5:9]) + address[9:]
}

// onOneDay asks again if midnight UTC passed meanwhile.
func onOneDay(ask func()) {
	for {
		today := time.Now().Unix() / 86400
		ask()
		if time.Now().Unix()/86400 == today {
			return
		}
	}
}
