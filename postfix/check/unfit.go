package check

import (
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"postmend/postfix/maillog"
	"postmend/postfix/maillog/tally"
)

// unfitSenders is what the mail log says about senders that do not fit into an SRS address and stayed.
type unfitSenders struct {
	read     bool  // there is a log
	cut      bool  // not all of it was read
	forwards int64 // recipients of forwarded mail with such a sender
	rejected int64 // of these, by receivers
}

const (
	unfitTime = 7 * 24 * time.Hour
	// unfitLog is how much of the log is read, unpacked, in octets: some seconds.
	unfitLog = 256 << 20
)

// countUnfit reads the last week's log, as postmend report does.
func countUnfit(dir string, now time.Time, most int64) (u unfitSenders) {
	since := now.Add(-unfitTime)
	names, missed := maillog.DefaultFiles(dir, false)
	u.cut = len(missed) > 0
	names = slices.DeleteFunc(names, func(name string) bool {
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() || info.ModTime().Before(since) {
			return true
		}
		_, err = maillog.Files([]string{name}, time.Local)
		u.cut = u.cut || err != nil
		return err != nil
	})
	files, err := maillog.Files(names, time.Local)
	if err != nil {
		return u
	}
	tracker := maillog.NewTracker(now, time.Local)
	tracker.Outcome = func(o *maillog.Outcome) { u.add(o, since.Unix()) }
	for i := range files {
		log, err := files[i].Open(nil, nil)
		if err != nil {
			u.cut = true
			continue
		}
		limited := &io.LimitedReader{R: log, N: most}
		tracker.NextFile(files[i].Ended)
		err = tracker.Read(limited)
		log.Close()
		if most = limited.N; err != nil || most == 0 {
			u.cut = true
			break
		}
	}
	tracker.Close()
	u.read = tracker.Stats.First != 0
	return u
}

func (u *unfitSenders) add(o *maillog.Outcome, since int64) {
	var counted tally.Unfit
	if o.At < since || o.Kind != maillog.Forwarded {
		return
	}
	if counted.Add(o.Run); counted.Kept == 0 {
		return
	}
	u.forwards++
	if o.Status == maillog.Refused && !o.ByFilter {
		u.rejected++
	}
}

func (u *unfitSenders) String() string {
	if !u.read {
		return "postmend report counts them in a mail log"
	}
	text := fmt.Sprintf("forwards with such a sender in the mail log of the last week: %d, of which "+
		"receivers rejected %d", u.forwards, u.rejected)
	if u.cut {
		text += "; this is only a part, because the log is long or cannot be read: see postmend report"
	}
	return text
}
