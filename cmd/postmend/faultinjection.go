//go:build faultinjection

package main

import (
	"strings"
	"time"
)

// A build with this tag has a fault, so that tests can see Postfix keep the mail. It panics while it reads
// the message; with -ldflags "-X main.injected=goroutine" in a goroutine, where nothing can recover it. With
// "-X main.injected=clock+720h" it has no other fault than a clock that is wrong by as much.
var injected string

type faultyReader struct{}

func (faultyReader) Read([]byte) (int, error) {
	if injected == "goroutine" {
		go panic("injected fault")
		select {}
	}
	panic("injected fault")
}

func init() {
	jump, isClock := strings.CutPrefix(injected, "clock")
	if !isClock {
		stdin = faultyReader{}
		return
	}
	wrong, err := time.ParseDuration(jump)
	if err != nil {
		panic(err)
	}
	now = func() time.Time { return time.Now().Add(wrong) }
}
