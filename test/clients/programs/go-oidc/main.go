// A web app of one user that signs in, refreshes and signs out with go-oidc and golang.org/x/oauth2.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"net/url"
	"os"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

var (
	home     = "http://127.0.0.1:" + os.Getenv("PORT")
	provider *oidc.Provider
	config   oauth2.Config
	kept     *oauth2.Token
	endpoint struct {
		EndSession string `json:"end_session_endpoint"`
	}
)

func main() {
	var err error
	if provider, err = oidc.NewProvider(context.Background(), os.Getenv("ISSUER")); err != nil {
		log.Fatal(err)
	}
	if err = provider.Claims(&endpoint); err != nil {
		log.Fatal(err)
	}
	config = oauth2.Config{
		ClientID:     os.Getenv("CLIENT_ID"),
		ClientSecret: os.Getenv("CLIENT_SECRET"),
		Endpoint:     provider.Endpoint(),
		RedirectURL:  home + "/callback",
		Scopes:       []string{oidc.ScopeOpenID, "profile", "email"},
	}
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"signedIn": kept != nil})
	})
	http.HandleFunc("GET /login", login)
	http.HandleFunc("GET /callback", callback)
	http.HandleFunc("POST /refresh", refresh)
	http.HandleFunc("GET /logout", logout)
	http.HandleFunc("GET /signed-out", signedOut)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}

func login(w http.ResponseWriter, r *http.Request) {
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	remember(w, "state", state)
	remember(w, "nonce", nonce)
	remember(w, "verifier", verifier)
	http.Redirect(w, r, config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), http.StatusFound)
}

func callback(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("state") != recall(r, "state") {
		refuse(w, errors.New("another state"))
		return
	}
	token, err := config.Exchange(r.Context(), r.FormValue("code"), oauth2.VerifierOption(recall(r, "verifier")))
	if err != nil {
		refuse(w, err)
		return
	}
	show(w, r, token, recall(r, "nonce"))
}

func refresh(w http.ResponseWriter, r *http.Request) {
	token, err := config.TokenSource(r.Context(), &oauth2.Token{RefreshToken: kept.RefreshToken}).Token()
	if err != nil {
		refuse(w, err)
		return
	}
	show(w, r, token, "")
}

// show verifies the ID token and asks for the user.
func show(w http.ResponseWriter, r *http.Request, token *oauth2.Token, nonce string) {
	raw, _ := token.Extra("id_token").(string)
	idToken, err := provider.Verifier(&oidc.Config{ClientID: config.ClientID}).Verify(r.Context(), raw)
	if err == nil && idToken.Nonce != nonce {
		err = errors.New("another nonce")
	}
	if err == nil {
		err = idToken.VerifyAccessToken(token.AccessToken)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	info, err := provider.UserInfo(r.Context(), oauth2.StaticTokenSource(token))
	if err != nil {
		refuse(w, err)
		return
	}
	var claims, userinfo map[string]any
	if err = errors.Join(idToken.Claims(&claims), info.Claims(&userinfo)); err != nil {
		refuse(w, err)
		return
	}
	kept = token
	answer(w, map[string]any{
		"claims":       claims,
		"userinfo":     userinfo,
		"accessToken":  token.AccessToken,
		"refreshToken": token.RefreshToken,
	})
}

func logout(w http.ResponseWriter, r *http.Request) {
	state := rand.Text()
	remember(w, "state", state)
	query := url.Values{
		"id_token_hint":            {kept.Extra("id_token").(string)},
		"post_logout_redirect_uri": {home + "/signed-out"},
		"state":                    {state},
	}
	kept = nil
	http.Redirect(w, r, endpoint.EndSession+"?"+query.Encode(), http.StatusFound)
}

func signedOut(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("state") != recall(r, "state") {
		refuse(w, errors.New("another state"))
		return
	}
	http.Redirect(w, r, "/", http.StatusFound)
}

func remember(w http.ResponseWriter, name, value string) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

func recall(r *http.Request, name string) string {
	cookie, err := r.Cookie(name)
	if err != nil {
		return "none was kept"
	}
	return cookie.Value
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("content-type", "application/json")
	if err := json.NewEncoder(w).Encode(body); err != nil {
		log.Print(err)
	}
}

func refuse(w http.ResponseWriter, err error) {
	log.Print(err)
	w.Header().Set("content-type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	answer(w, map[string]any{"error": err.Error()})
}
