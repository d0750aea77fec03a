package dns

import (
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// FuzzReply: whatever a server sends, reading it ends, and gives records or an error.
func FuzzReply(f *testing.F) {
	q := asked("example.org.", dnsmessage.TypeTXT)[0]
	query := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{q}}
	f.Add(answer(query, "text", nil))
	f.Add(answer(query, "", func(m *dnsmessage.Message) {
		m.RCode = dnsmessage.RCodeNameError
		m.Additionals = withOPT(0)
	}))
	f.Add([]byte{0, 7, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0xc0, 12})
	f.Fuzz(func(t *testing.T, packed []byte) {
		if r, ok := parseReply(packed, 7, q); ok {
			if records, err := r.records(); (len(records) == 0) == (err == nil) {
				t.Errorf("%v, %v", records, err)
			}
		}
	})
}
