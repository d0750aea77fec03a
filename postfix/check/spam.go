package check

import "fmt"

// spamRules judge what [[spam]] needs of Postfix.
var spamRules = []rule[*host]{
	{"spam-redirect", Error, "", "mail that an earlier filter marked bounces", judgeSpamRedirect},
}

// judgeSpamRedirect finds a [[spam]] redirect in transport mode, where the listener sends everything to the
// MX of the recipient's domain, which is this host.
func judgeSpamRedirect(h *host) []fault {
	if h.SpamRedirect == "" || !h.isTransport() {
		return nil
	}
	return one(fmt.Sprintf("[[spam]] redirects to %s, but in transport mode postmend hands all mail to "+
		"other hosts, and this one loops: use action \"discard\" or \"unsigned\", or content-filter mode",
		h.SpamRedirect), "")
}
