package example;

import jakarta.servlet.http.HttpServletRequest;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.http.HttpStatus;
import org.springframework.http.ResponseEntity;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.GrantedAuthority;
import org.springframework.security.core.authority.SimpleGrantedAuthority;
import org.springframework.security.core.authority.mapping.GrantedAuthoritiesMapper;
import org.springframework.security.oauth2.client.ClientAuthorizationException;
import org.springframework.security.oauth2.client.OAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.annotation.RegisteredOAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.authentication.OAuth2AuthenticationToken;
import org.springframework.security.oauth2.client.oidc.web.logout.OidcClientInitiatedLogoutSuccessHandler;
import org.springframework.security.oauth2.client.registration.ClientRegistrationRepository;
import org.springframework.security.oauth2.core.oidc.user.OidcUser;
import org.springframework.security.oauth2.core.oidc.user.OidcUserAuthority;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.security.web.csrf.CsrfToken;
import org.springframework.web.bind.annotation.ExceptionHandler;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** A web app whose users sign in at the service. */
@SpringBootApplication
@RestController
public class Login {
  public static void main(String[] args) {
    SpringApplication.run(Login.class, args);
  }

  @Bean
  public SecurityFilterChain security(HttpSecurity http, ClientRegistrationRepository clients) {
    // signs out of the service too, not only of this app
    var logout = new OidcClientInitiatedLogoutSuccessHandler(clients);
    logout.setPostLogoutRedirectUri("{baseUrl}/signed-out");
    return http.authorizeHttpRequests(all -> all.requestMatchers("/signed-out").permitAll().anyRequest().authenticated())
        .oauth2Login(Customizer.withDefaults())
        .logout(form -> form.logoutSuccessHandler(logout))
        .build();
  }

  /** The roles of the user, such as ROLE_USER, beside the authorities that Spring makes of the scopes. */
  @Bean
  public GrantedAuthoritiesMapper roles() {
    return authorities -> {
      Set<GrantedAuthority> all = new LinkedHashSet<>(authorities);
      for (GrantedAuthority each : authorities) {
        if (!(each instanceof OidcUserAuthority user) || user.getUserInfo() == null) continue;
        List<String> roles = user.getUserInfo().getClaimAsStringList("roles");
        if (roles != null) roles.forEach(role -> all.add(new SimpleGrantedAuthority(role)));
      }
      return all;
    };
  }

  public record Me(String subject, String email, Collection<String> authorities, String accessToken) {}

  /** The argument comes from the OAuth2AuthorizedClientManager, which refreshes a token that has less than a minute left. */
  @GetMapping("/me")
  public Me me(OAuth2AuthenticationToken login, @RegisteredOAuth2AuthorizedClient("auth") OAuth2AuthorizedClient client) {
    OidcUser user = (OidcUser) login.getPrincipal();
    // those of the user alone are not mapped
    List<String> authorities = login.getAuthorities().stream().map(GrantedAuthority::getAuthority).sorted().toList();
    return new Me(user.getSubject(), user.getEmail(), authorities, client.getAccessToken().getTokenValue());
  }

  /** A refused refresh: the user has signed out of the service. Without this the answer is 500. */
  @ExceptionHandler(ClientAuthorizationException.class)
  public ResponseEntity<Void> signInAgain(HttpServletRequest request) {
    request.getSession().invalidate();
    return ResponseEntity.status(HttpStatus.SEE_OTHER).header("Location", "/oauth2/authorization/auth").build();
  }

  @GetMapping(path = "/", produces = "text/html")
  public String home(CsrfToken csrf) {
    return """
        <form method="post" action="/logout"><input type="hidden" name="_csrf" value="%s"><button>Sign out</button></form>
        """.formatted(csrf.getToken());
  }

  @GetMapping("/signed-out")
  public String signedOut() {
    return "signed out";
  }
}
