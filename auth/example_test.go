package auth_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fanfare/auth"
)

// An application gets a token for a user, whose browser opens a stream with it.
func Example() {
	a, err := auth.New(auth.Options{
		TokenSecrets:  []auth.Secret{"an example of a secret with at least 32 bytes"},
		AnonymousKeys: []string{"news"},
		PublishTokens: []auth.PublishToken{{
			Name: "shop", Token: "0123456789abcdef", Rights: []auth.Right{auth.RightPublish, auth.RightMint}, Keys: []string{"user.*"},
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	ctx := context.Background()

	// POST /token of the application
	shop, err := a.AuthorizePublish(ctx, auth.PublishRequest{Authorization: "Bearer 0123456789abcdef"}, auth.RightMint, "user.42.mail")
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := a.Mint(shop, auth.TokenRequest{Keys: []string{"user.42.*"}, Subject: "u42", TTL: time.Hour})
	fmt.Println(token.Text, err)
	_, err = a.Mint(shop, auth.TokenRequest{Keys: []string{"**"}})
	fmt.Println(err)

	// GET /stream?connectKey=news&connectKey=user.42.mail of the browser
	grant, err := a.Authorize(ctx, auth.Request{Keys: []string{"news", "user.42.mail"}, Token: token.Text})
	fmt.Println(grant.Subject, grant.Subscribe, err)
	_, err = a.Authorize(ctx, auth.Request{Keys: []string{"user.43.mail"}, Token: token.Text})
	var denied *auth.Denied
	if errors.As(err, &denied) {
		fmt.Println(denied.Status, denied.Message)
	}
	// Output:
	// [redacted] <nil>
	// the key or pattern "**" is not granted: use a credential for it (publisher shop)
	// u42 [user.42.* news] <nil>
	// 403 the key "user.43.mail" is not granted: use a credential for it
}
