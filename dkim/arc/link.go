package arc

import (
	"bytes"
	"strconv"
	"time"
)

// Link is what one set of a chain says. All of it is the sealer's word, and stands only if the chain passes:
// the seal of each instance covers the results of that instance, so nobody but that sealer wrote them. It
// does not cover the message. Only the newest message signature does, so the results of an older instance are
// about this message only if every sealer above is honest: each of them could have put an old chain on
// another message.
type Link struct {
	Sealer  string    // d= of the seal, in lower case
	Results []byte    // the value of an Authentication-Results field, raw
	Sealed  time.Time // t= of the seal; the zero value without
	Covered []string  // h= of the message signature, in lower case
	Limited bool      // the message signature covers the beginning of the body only
}

// Links are what the sets say, from instance 1 on; none if the chain is broken at first sight.
func (c *Chain) Links() (links []Link) {
	if c == nil || c.broken != "" || c.marked {
		return nil
	}
	for _, s := range c.sets {
		domain, _ := s.seal.Signer()
		_, results, _ := bytes.Cut(s.results.Value(), []byte(";")) // behind i=, see resultsInstance
		link := Link{Sealer: domain, Results: results, Covered: s.message.Names(),
			Limited: s.message.Summary().Limited}
		text, _ := s.seal.Tag("t")
		if seconds, err := strconv.ParseInt(text, 10, 64); err == nil && seconds > 0 {
			link.Sealed = time.Unix(seconds, 0)
		}
		links = append(links, link)
	}
	return links
}
